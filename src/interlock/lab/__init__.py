"""Real RPM hosts on one machine, for the demo, the tests and trying things out.

``releases`` names the operating systems, ``trees`` fetches them, ``debs``, ``ownership`` and ``spec`` turn them into
packages that ``packaging`` builds and ``signing`` signs; ``image`` makes the whole a bootable image, ``depots`` and
``tools`` what there is to upgrade to. ``hosts`` boots snapshots of an image, ``network`` joins them, ``agents`` are
the programs that disturb them, ``leftovers`` finds what a killed lab left behind. Only ``cli`` imports this.
"""
