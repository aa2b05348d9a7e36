from __future__ import annotations

import json
import random
from typing import Any

import pytest
from depot_tools import offered, package

from interlock.depot.bulletin import Bulletin
from interlock.depot.repository import Depot
from interlock.errors import UnknownBulletin
from interlock.package import Nevra, Package
from interlock.upgrade.plan import Plan, make_plan


def plan_of(host: list[Package], depot: list[Package], *bulletins: Bulletin, **options: Any) -> Plan:
    return make_plan(host, Depot("/d", packages=offered(*depot), bulletins=bulletins), **options)


def texts(plan: Plan) -> list[str]:
    return [one.text for one in plan.problems]


def names(some: Any) -> list[str]:
    return [str(getattr(one, "nevra", one)).replace(".noarch", "") for one in some]


def upgraded(plan: Plan) -> list[str]:
    return names(one.new for one in plan.upgrades)


def bulletin(identity: str, *nevras: str, reboot: bool = False) -> Bulletin:
    return Bulletin(identity, reboot=reboot, packages=tuple(Nevra.parse(f"{one}.noarch") for one in nevras))


def test_all_that_applies_is_taken_in_its_latest_version() -> None:
    host = [package("a-1-1"), package("b-2-1"), package("c-5-1")]
    plan = plan_of(host, [package("a-2-1"), package("a-10-1"), package("b-2-1"), package("c-4-1"), package("d-1-1")])
    assert upgraded(plan) == ["a-10-1"]
    assert (plan.installs, plan.removals, plan.problems) == ((), (), ())
    assert names(plan.asked) == ["a-10-1"]
    assert names(sorted(plan.expected(one.nevra for one in host), key=str)) == ["a-10-1", "b-2-1", "c-5-1"]


def test_nothing_to_do_is_an_empty_plan() -> None:
    assert plan_of([package("a-1-1")], [package("a-1-1")]).empty
    assert plan_of([], [package("a-1-1")]).empty


def test_what_is_needed_is_pulled_in_and_told_apart() -> None:
    depot = [package("a-2-1", requires="lib >= 2"), package("lib-2-1", requires="base"), package("base-1-1")]
    plan = plan_of([package("a-1-1")], depot)
    assert (names(plan.asked), names(plan.closure)) == (["a-2-1"], ["base-1-1", "lib-2-1"])
    assert (upgraded(plan), names(plan.installs)) == (["a-2-1"], ["base-1-1", "lib-2-1"])


def test_what_cannot_be_met_is_a_problem_that_names_both() -> None:
    plan = plan_of([package("a-1-1")], [package("a-2-1", requires="lib >= 2, other"), package("lib-1-1")])
    assert texts(plan) == [
        "a-2-1.noarch needs lib >= 2, which neither the host nor the depot provides",
        "a-2-1.noarch needs other, which neither the host nor the depot provides",
    ]
    assert not plan.empty


def test_requirements_of_rpm_itself_are_passed_over() -> None:
    assert plan_of([package("a-1-1")], [package("a-2-1", requires="rpmlib(X) <= 4.0-1")]).problems == ()


def test_a_provider_is_an_upgrade_first_then_the_same_name_then_by_name() -> None:
    needs = package("a-2-1", requires="thing")
    some = [package("b-1-1", provides="thing"), package("c-1-1", provides="thing")]
    assert names(plan_of([package("a-1-1")], [needs, *some]).installs) == ["b-1-1"]
    assert names(plan_of([package("a-1-1")], [needs, *some, package("thing-1-1")]).installs) == ["thing-1-1"]
    plan = plan_of([package("a-1-1"), package("z-1-1")], [needs, *some, package("z-2-1", provides="thing")])
    assert (upgraded(plan), plan.installs) == (["a-2-1", "z-2-1"], ())


def test_a_provider_is_never_a_downgrade() -> None:
    plan = plan_of(
        [package("a-1-1"), package("p-2-1")], [package("a-2-1", requires="x"), package("p-1-1", provides="x")]
    )
    assert [one.kind for one in plan.problems] == ["requirement"]
    assert plan.installs == ()


def test_a_remaining_package_is_upgraded_when_it_would_break() -> None:
    host = [package("lib-1-1", provides="lib.so.1"), package("app-1-1", requires="lib.so.1")]
    depot = [package("lib-2-1", provides="lib.so.2"), package("app-2-1", requires="lib.so.2")]
    plan = plan_of(host, depot, bulletin("B", "lib-2-1"), bulletins=["B"])
    assert (names(plan.asked), names(plan.closure)) == (["lib-2-1"], ["app-2-1"])
    assert plan.problems == ()


def test_or_gets_what_it_loses_from_another() -> None:
    host = [package("lib-1-1", provides="lib.so.1"), package("app-1-1", requires="lib.so.1")]
    plan = plan_of(host, [package("lib-2-1"), package("compat-1-1", provides="lib.so.1")])
    assert (names(plan.installs), plan.problems) == (["compat-1-1"], ())


def test_a_remaining_package_that_breaks_is_a_problem() -> None:
    host = [package("lib-1-1", provides="lib.so.1"), package("app-1-1", requires="lib.so.1")]
    plan = plan_of(host, [package("lib-2-1", provides="lib.so.2")])
    assert [one.kind for one in plan.problems] == ["broken"]
    assert texts(plan) == [
        "app-1-1.noarch, which stays, would lose lib.so.1, and the depot has nothing that provides it"
    ]


def test_what_was_broken_before_is_no_problem() -> None:
    assert plan_of([package("app-1-1", requires="gone"), package("a-1-1")], [package("a-2-1")]).problems == ()


def test_an_obsoleted_package_is_replaced_by_its_successor() -> None:
    plan = plan_of([package("old-1-1")], [package("new-3-1", obsoletes="old < 2"), package("old-1-2")])
    assert (names(plan.installs), plan.upgrades) == (["new-3-1"], ())
    assert [(str(one.nevra), one.reason) for one in plan.removals] == [
        ("old-1-1.noarch", "obsoleted by new-3-1.noarch")
    ]
    assert names(plan.asked) == ["new-3-1"]


def test_obsoletion_goes_by_name_and_version_not_by_what_is_provided() -> None:
    assert plan_of([package("old-2-1")], [package("new-3-1", obsoletes="old < 2")]).empty
    assert plan_of([package("other-1-1", provides="old")], [package("new-3-1", obsoletes="old")]).empty


def test_a_split_package_brings_both_halves() -> None:
    depot = [package("a-2-1"), package("a-tools-2-1", obsoletes="a < 2")]
    plan = plan_of([package("a-1-1")], depot)
    assert (upgraded(plan), names(plan.installs), plan.removals) == (["a-2-1"], ["a-tools-2-1"], ())
    assert plan.problems == ()


def test_a_chain_of_successors_ends_at_the_last() -> None:
    depot = [package("b-2-1", obsoletes="a"), package("c-3-1", obsoletes="a, b")]
    plan = plan_of([package("a-1-1")], depot)
    assert names(plan.installs) == ["c-3-1"]


def test_conflicts_are_problems() -> None:
    plan = plan_of([package("a-1-1"), package("b-1-1")], [package("a-2-1", conflicts="b < 2")])
    assert texts(plan) == ["a-2-1.noarch conflicts with b < 2, which b-1-1.noarch provides"]
    plan = plan_of([package("a-1-1"), package("b-1-1", conflicts="a >= 2")], [package("a-2-1")])
    assert texts(plan) == ["b-1-1.noarch conflicts with a >= 2, which a-2-1.noarch provides"]


def test_a_conflict_is_mended_by_an_upgrade_where_there_is_one() -> None:
    host = [package("a-1-1"), package("b-1-1")]
    plan = plan_of(
        host, [package("a-2-1", conflicts="b < 2"), package("b-2-1")], bulletin("B", "a-2-1"), bulletins=["B"]
    )
    assert (names(plan.asked), names(plan.closure), plan.problems) == (["a-2-1"], ["b-2-1"], ())


def test_files_meet_requirements() -> None:
    host = [package("a-1-1"), package("sh-1-1", files=["/bin/sh"])]
    depot = [package("a-2-1", requires="/bin/sh, /bin/new, /bin/none"), package("n-1-1", files=["/bin/new"])]
    plan = plan_of(host, depot)
    assert names(plan.installs) == ["n-1-1"]
    assert plan.missing_files == ("/bin/none",)
    assert [one.kind for one in plan.problems] == ["file-requirement"]


def test_a_file_that_an_upgrade_loses_is_missed() -> None:
    host = [package("p-1-1", files=["/usr/bin/p"]), package("a-1-1", requires="/usr/bin/p")]
    assert plan_of(host, [package("p-2-1")]).missing_files == ("/usr/bin/p",)
    assert plan_of(host, [package("p-2-1", files=["/usr/bin/p"])]).problems == ()


def test_bulletins_bring_their_packages_and_no_others() -> None:
    host = [package("a-1-1"), package("b-1-1"), package("c-1-1")]
    depot = [package("a-2-1"), package("a-3-1"), package("b-2-1"), package("c-2-1"), package("d-2-1")]
    plan = plan_of(host, depot, bulletin("X", "a-2-1", "d-2-1"), bulletin("Y", "b-2-1"), bulletins=["X", "Y"])
    assert (upgraded(plan), plan.installs) == (["a-2-1", "b-2-1"], ())
    assert plan.bulletins == ("X", "Y")


def test_of_two_bulletins_the_later_version_is_taken() -> None:
    some = (bulletin("X", "a-2-1"), bulletin("Y", "a-10-1"))
    plan = plan_of([package("a-1-1")], [package("a-2-1"), package("a-10-1")], *some, bulletins=["Y", "X"])
    assert upgraded(plan) == ["a-10-1"]


def test_a_bulletin_whose_package_is_not_there_takes_a_later_one_or_is_a_problem() -> None:
    host = [package("a-1-1")]
    assert upgraded(plan_of(host, [package("a-3-1")], bulletin("X", "a-2-1"), bulletins=["X"])) == ["a-3-1"]
    plan = plan_of(host, [], bulletin("X", "a-2-1"), bulletins=["X"])
    assert texts(plan) == ["X has a-2-1.noarch, which the depot does not have"]


def test_an_unknown_bulletin_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownBulletin, match="no bulletin Z; it has: X"):
        plan_of([], [], bulletin("X", "a-2-1"), bulletins=["Z"])


def test_a_package_installed_twice_is_a_problem_naming_both() -> None:
    plan = plan_of([package("a-1-1"), package("a-2-1")], [package("a-3-1")])
    assert [one.kind for one in plan.problems] == ["duplicate"]
    assert "a-1-1.noarch, a-2-1.noarch" in texts(plan)[0]


def test_kernels_stand_beside_one_another() -> None:
    host = [package("kernel-1-1"), package("kernel-2-1")]
    plan = plan_of(host, [package("kernel-3-1"), package("kernel-0-1")])
    assert (plan.upgrades, names(plan.installs), plan.removals, plan.problems) == ((), ["kernel-3-1"], (), ())
    assert plan.reboot
    assert plan_of([package("kernel-5-1"), package("kernel-1-1")], [package("kernel-3-1")]).empty


def test_keys_are_no_packages() -> None:
    keys = [package("gpg-pubkey-1-1.(none)"), package("gpg-pubkey-2-1.(none)")]
    assert plan_of(keys, [package("gpg-pubkey-3-1")]).empty


def test_architectures_are_kept_apart() -> None:
    host = [package("l-1-1.x86_64"), package("l-1-1.i686"), package("x-1-1.x86_64")]
    depot = [package("l-2-1.x86_64"), package("l-2-1.i686"), package("x-2-1.i686"), package("x-1-2.x86_64")]
    plan = plan_of(host, depot)
    assert upgraded(plan) == ["l-2-1.i686", "l-2-1.x86_64", "x-1-2.x86_64"]
    assert all(len(one.old) == 1 for one in plan.upgrades)
    assert plan_of([package("l-1-1.x86_64")], [package("l-2-1")]).upgrades[0].old == (Nevra.parse("l-1-1.x86_64"),)


def test_a_provider_is_of_the_same_architecture() -> None:
    some = [package("p-1-1.i686", provides="x"), package("p-1-1.x86_64", provides="x")]
    plan = plan_of([package("a-1-1.x86_64")], [package("a-2-1.x86_64", requires="x"), *some])
    assert names(plan.installs) == ["p-1-1.x86_64"]


def test_rich_requirements_pull_in_the_first_that_there_is() -> None:
    needs = package("a-2-1", requires="(x or y >= 2)")
    assert names(plan_of([package("a-1-1")], [needs, package("y-2-1")]).installs) == ["y-2-1"]
    assert plan_of([package("a-1-1"), package("x-1-1")], [needs, package("y-2-1")]).installs == ()
    assert [one.kind for one in plan_of([package("a-1-1")], [needs, package("y-1-1")]).problems] == ["requirement"]
    odd = plan_of([package("a-1-1")], [package("a-2-1", requires="(x foo y)")])
    assert (odd.problems, odd.notes) == ((), ("not understood, left to rpm: (x foo y)",))


def test_a_reboot_is_needed_for_a_bulletin_or_a_package_that_says_so() -> None:
    host = [package("a-1-1"), package("glibc-1-1")]
    plan = plan_of(host, [package("a-2-1"), package("glibc-2-1")], bulletin("X", "a-2-1", reboot=True))
    assert plan.reboot_reasons == ("the bulletin X says so", "glibc is replaced")
    assert not plan_of(host, [package("a-2-1")], bulletin("Y", "a-9-1", reboot=True)).reboot


def test_sizes() -> None:
    host = [package("a-1-1", size=100), package("old-1-1", size=7)]
    plan = plan_of(host, [package("a-2-1", size=150), package("new-1-1", obsoletes="old", size=1)])
    assert (plan.download_size, plan.installed_size_change) == (20, 150 + 1 - 100 - 7)


def test_a_plan_survives_a_file() -> None:
    host = [package("a-1-1"), package("old-1-1"), package("glibc-1-1")]
    depot = [package("a-1:2-1", requires="x >= 1, gone"), package("x-1-1"), package("new-1-1", obsoletes="old")]
    plan = plan_of(host, [*depot, package("glibc-2-1")], bulletin("X", "a-1:2-1", reboot=True))
    row = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(row) == plan
    with pytest.raises(ValueError, match="format"):
        Plan.from_json({**row, "format": 99})


def random_world(chance: random.Random) -> tuple[list[Package], list[Package]]:
    """Return a host that holds together, and a depot of later versions, some of them out of step."""
    count = chance.randrange(3, 12)
    host, depot = [], []
    for number in range(count):
        below = [f"c{chance.randrange(number)} >= 1" for _ in range(chance.randrange(3)) if number]
        host.append(package(f"p{number}-1-1", provides=f"c{number} = 1", requires=", ".join(below)))
        for version in chance.sample(range(2, 6), chance.randrange(3)):
            needs = [
                f"c{chance.randrange(count)} {chance.choice(['=', '>=', '<'])} {chance.randrange(1, 5)}"
                for _ in range(2)
            ]
            extra = {chance.choice(["conflicts", "obsoletes", "requires"]): f"p{chance.randrange(count)} < 2"}
            extra["requires"] = ", ".join([*needs, *filter(None, [extra.get("requires")])])
            depot.append(package(f"p{number}-{version}-1", provides=f"c{number} = {version}", **extra))
    return host, depot


def faults(packages: list[Package], new: set[Nevra]) -> list[str]:
    """Look for faults by brute force: each against each."""
    found = []
    for one in packages:
        for need in one.requires:
            if not any(need.matches(given) for other in packages for given in other.provides):
                found.append(f"{one.nevra} needs {need}")
        for against in one.conflicts:
            for other in packages:
                if other is not one and any(against.matches(given) for given in other.provides):
                    found.append(f"{one.nevra} conflicts {other.nevra}")
    return found


@pytest.mark.parametrize("seed", range(400))
def test_a_plan_without_problems_holds_together(seed: int) -> None:
    host, depot = random_world(random.Random(seed))
    plan = plan_of(host, depot)
    by_nevra = {one.nevra: one for one in (*host, *depot)}
    after = plan.expected(one.nevra for one in host)
    left = faults([by_nevra[nevra] for nevra in sorted(after, key=str)], {one.nevra for one in plan.packages})
    assert bool(left) == bool(plan.problems), (left, plan.problems)
    for name in {nevra.name for nevra in after}:
        assert sum(nevra.name == name for nevra in after) == 1
    for one in plan.upgrades:
        assert all(one.new.nevra.evr.compare(old.evr) > 0 for old in one.old)
    assert plan_of(list(reversed(host)), list(reversed(depot))).expected([one.nevra for one in host]) == after
    if not plan.problems:
        assert plan_of([by_nevra[nevra] for nevra in after], depot).problems == ()
