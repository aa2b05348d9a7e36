"""The shell parts of a rehearsal: they run before or beside a C library that may be broken, so they need little.

``PICTURE`` puts the picture of the root together in a mount namespace of its own, ``CONTAINER`` and ``IMAGE`` go on
from there; ``SENTINEL`` runs inside the copy, once everything that the default target wants has been tried.
"""

from __future__ import annotations

# Printed on the console just before init is started: what fails before it is the rehearsal's own fault.
STARTING = "interlock-rehearsal: starting init"
UNIT = "interlock-rehearsal.service"
INSIDE = "/run/interlock-rehearsal"
IN_IMAGE = "/etc/interlock-rehearsal"
# They wait for a network or a time server, which a rehearsal does not have.
WAITING_UNITS = (
    "systemd-networkd-wait-online.service",
    "NetworkManager-wait-online.service",
    "systemd-time-wait-sync.service",
    "chrony-wait.service",
)
# Capabilities that reach past the container: the clock, modules, ports, devices, the kernel's log, the machine's sleep.
WITHHELD = ("sys_time", "sys_module", "sys_rawio", "mknod", "syslog", "wake_alarm", "block_suspend")

# Arguments: the picture, where to work, bytes for writes, the root that other mounts are below, then those mounts.
PICTURE = r"""
set -eu
picture=$1 work=$2 memory=$3 prefix=$4
shift 4
mount --make-rprivate /
mount -t tmpfs -o "mode=755,size=$memory" interlock-rehearsal "$work"
mkdir "$work/root"
number=0
layer() {
	number=$((number + 1))
	mkdir "$work/lower$number" "$work/upper$number" "$work/index$number" &&
		chmod --reference="$1" "$work/upper$number" && chown --reference="$1" "$work/upper$number" &&
		mount --bind "$1" "$work/lower$number" &&
		mount -t overlay -o \
			"nodev,lowerdir=$work/lower$number,upperdir=$work/upper$number,workdir=$work/index$number" \
			interlock-rehearsal "$2"
}
layer "$picture" "$work/root"
for point; do
	layer "$prefix$point" "$work/root$point" || mount -o bind,ro "$prefix$point" "$work/root$point"
done
root=$work/root
# What is mounted is mounted already, and the real disks are not to be touched.
echo "# A rehearsal: everything is mounted already." > "$root/etc/fstab"
mkdir -p "$root/var/lib/interlock/rehearsals"
mount -t tmpfs -o size=1m,mode=700 interlock-rehearsal "$root/var/lib/interlock/rehearsals"
"""

# Environment: TERMINAL, OUT, UNIT, WAITING_UNITS, WITHHELD, ENTER, STARTING, INIT_ARGUMENTS.
CONTAINER = r"""
cd "$root"
mount -t proc -o nosuid,noexec,nodev proc proc
for part in sys sysrq-trigger bus irq fs; do
	[ ! -e "proc/$part" ] || { mount --bind "proc/$part" "proc/$part" && mount -o remount,bind,ro "proc/$part"; }
done
mount -t sysfs -o ro,nosuid,noexec,nodev sysfs sys
mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,size=8m interlock-rehearsal dev
for device in null zero full random urandom tty; do
	: > "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
: > dev/console
mount --bind "$TERMINAL" dev/console
mount -t tmpfs -o mode=755,nosuid,nodev,size=128m interlock-rehearsal run
mkdir -p run/interlock-rehearsal run/systemd/system/default.target.wants
mount --bind "$OUT" run/interlock-rehearsal
cp "$OUT/unit" "run/systemd/system/$UNIT"
ln -s "../$UNIT" run/systemd/system/default.target.wants/
for unit in $WAITING_UNITS; do ln -s /dev/null "run/systemd/system/$unit"; done
mkdir run/outside
# What a broken library would stop is started before the change of root, or is the shell's own.
exec env -i container=interlock TERM=dumb "PATH=$PATH" setpriv --bounding-set="$WITHHELD" \
	sh -c "$ENTER" sh "$STARTING" $INIT_ARGUMENTS < dev/console > dev/console 2>&1
"""

# Arguments: what to say before init is started, then init's own. From the first line on the copy's own programs run.
ENTER = r"""
pivot_root . run/outside && cd / || exit 1
starting=$1
shift
read -r up rest < /proc/uptime
echo "$starting $up"
umount -l /run/outside || exit 1
unset OLDPWD
exec /sbin/init "$@"
"""

# Environment: OUT, UNIT, WAITING_UNITS, IMAGE, SIZE, IDENTITY, KIND.
IMAGE = r"""
rm -f "$root/etc/fstab"
echo "UUID=$IDENTITY / auto defaults 0 0" > "$root/etc/fstab"
for folder in home srv mnt media tmp var/tmp var/cache var/lib/docker var/lib/containers var/lib/libvirt/images; do
	[ ! -d "$root/$folder" ] || mount -t tmpfs -o size=1m interlock-rehearsal "$root/$folder"
done
mkdir -p "$root/etc/interlock-rehearsal" "$root/etc/systemd/system/default.target.wants"
cp "$OUT/sentinel.sh" "$root/etc/interlock-rehearsal/"
cp "$OUT/unit" "$root/etc/systemd/system/$UNIT"
ln -sf "../$UNIT" "$root/etc/systemd/system/default.target.wants/"
for unit in $WAITING_UNITS; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
truncate -s "$SIZE" "$IMAGE"
case $KIND in
	btrfs) mkfs.btrfs -q -U "$IDENTITY" --rootdir "$root" "$IMAGE" ;;
	*) mke2fs -q -F -t ext4 -U "$IDENTITY" -E lazy_itable_init=1 -d "$root" "$IMAGE" ;;
esac
"""

SENTINEL = r"""# Says that the system is up, and what is not. Arguments: this rehearsal's word, and a directory.
mark="@$1"
folder=$2
read -r up rest < /proc/uptime
units=$(systemctl list-units --all --state=failed,auto-restart --plain --no-legend --no-pager --full) || exit 1
timeout 5 journalctl --sync > /dev/null 2>&1
report=$(
	echo "$mark begin"
	echo "$mark uptime $up"
	printf '%s\n' "$units" | while read -r unit rest; do
		[ -n "$unit" ] || continue
		echo "$mark unit $unit $rest"
		timeout 5 journalctl --no-pager -b -o cat -n 12 -u "$unit" 2>/dev/null | while read -r line; do
			echo "$mark said $unit $line"
		done
	done
	echo "$mark end"
)
printf '%s\n' "$report" > "$folder/report.new" 2>/dev/null && mv "$folder/report.new" "$folder/report"
printf '\n%s\n' "$report" > /dev/console
"""


def unit_text(token: str, folder: str) -> str:
    """Return the unit that starts the sentinel after the default target has been reached."""
    return (
        "[Unit]\nDescription=Says that this rehearsal is up\nDefaultDependencies=no\nAfter=default.target\n"
        f"[Service]\nType=oneshot\nExecStart=/bin/sh {folder}/sentinel.sh {token} {folder}\n"
        "StandardOutput=journal\nTimeoutStartSec=60\n"
    )
