# Keeps one host of the lab up; a text for `sh -c`. $1 is where the lab's image file is mounted, $2 the host's
# root directory, $3 its control group below the mount point of cgroup2; the other words start the host. It runs in a
# mount namespace of its own, where the unified hierarchy is at /sys/fs/cgroup even if this machine has it elsewhere or not at all.
set -u
# Other loop mounts would stay in use for as long as this host runs, even after this machine unmounts them.
while read -r _ _ _ _ point rest; do
	case "$rest" in *" - "*" /dev/loop"*) ;; *) continue ;; esac
	case "$1/" in "$point"/*) continue ;; esac
	[ "$point" = "$2" ] || umount -l -- "$point"
done </proc/self/mountinfo
shift 2
if [ ! -f /sys/fs/cgroup/cgroup.controllers ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
fi
group=/sys/fs/cgroup/$1
shift
mkdir -p "$group/keeper" "$group/host" || exit 1
echo $$ >"$group/keeper/cgroup.procs" || exit 1
while :; do
	sh -c 'echo $$ >"$0/host/cgroup.procs" && exec "$@"' "$group" "$@"
	# systemd-nspawn's word for "the host wants to start again"
	[ $? -eq 133 ] || break
	echo "--- restart ---"
done
