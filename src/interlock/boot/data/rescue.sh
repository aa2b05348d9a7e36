#!/bin/sh
# Interlock's rescue: puts the files of an upgrade that was cut off back as they were, before anything uses them.
#
#   interlock-rescue ROOT [RUN]
#
# ROOT is where the host's root is mounted (/sysroot, /root), RUN a directory in memory for the log. Runs in an
# initramfs, under any POSIX shell, with cat chmod chown cp ln mkdir mount mv readlink rm rmdir sha256sum sync umount
# of that initramfs: nothing of the host is run, for it may be half of one system and half of another.
#
# Works when ROOT/var/lib/interlock/dirty.json is there, and rescue/plan beside it names the same operation. Everything
# may be done twice: when the power fails in the middle, the next boot begins anew and comes to the same end. Status 0:
# nothing to do, or done; 1: the host stays as it is, and the log says why.

root=${1:?which root}
root=${root%/}
run=${2:-/run/initramfs}
state=$root/var/lib/interlock
log=$run/interlock-rescue.log
tab=$(printf '\t')
suffix=.interlock-undo
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin

say() {
    echo "interlock-rescue: $*"
    if [ -w /dev/kmsg ] && [ "$run" = /run/initramfs ]; then echo "interlock-rescue: $*" >/dev/kmsg; fi
    echo "$*" >>"$log"
} 2>/dev/null

# -- mounts ----------------------------------------------------------------------------------------------------------

mounted=
writable=
# To look for the marker, reading is enough.
access=ro

# Sets `options` to those of the last mount at a place; false where nothing is mounted there.
find_mount() {
    options=
    while read -r _device point _kind found _rest; do
        [ "$point" != "$1" ] || options=$found
    done </proc/mounts
    [ -n "$options" ]
}

device_of() {
    case $1 in
        UUID=*) found=/dev/disk/by-uuid/${1#UUID=} ;;
        LABEL=*) found=/dev/disk/by-label/${1#LABEL=} ;;
        PARTUUID=*) found=/dev/disk/by-partuuid/${1#PARTUUID=} ;;
        PARTLABEL=*) found=/dev/disk/by-partlabel/${1#PARTLABEL=} ;;
        *) found=$1 ;;
    esac
    [ -e "$found" ] && echo "$found" && return
    # Quotation marks, or no links of udev: mount knows what to do.
    blkid -l -o device -t "$1" 2>/dev/null || echo "$1"
}

# Only what another subvolume or a network needs of an entry's options: the rest is for the running system.
options_of() {
    kept=$access
    rest=$1,
    while [ -n "$rest" ]; do
        one=${rest%%,*}
        rest=${rest#*,}
        case $one in subvol=* | subvolid=* | compress* | vers=* | nouuid) kept=$kept,$one ;; esac
    done
    echo "$kept"
}

mount_part() { # point device kind options
    find_mount "$root$1" && { [ "$access" = ro ] || make_writable "$root$1"; return; }
    device=$(device_of "$2")
    mount -t "$3" -o "$(options_of "$4")" "$device" "$root$1" || return 1
    mounted="$root$1 $mounted"
}

# The entry of fstab counts; what was mounted when the upgrade began is for hosts that have none.
mount_wanted() { # point device kind options
    while read -r device point kind more _rest; do
        if [ "$point" = "$1" ]; then
            case $device in '#'*) continue ;; esac
            mount_part "$point" "$device" "$kind" "$more"
            return
        fi
    done 2>/dev/null <"$root/etc/fstab"
    [ "$2" != - ] && mount_part "$@"
}

mount_state() {
    for place in /var /var/lib /var/lib/interlock; do
        mount_wanted "$place" - - -
    done 2>/dev/null
    return 0
}

make_writable() {
    find_mount "$1" || return 0
    case ,$options, in
        *,ro,*) mount -o remount,rw "$1" && writable="$1 $writable" ;;
    esac
}

leave() {
    status=$1
    for place in $mounted; do umount "$place"; done
    for place in $writable; do mount -o remount,ro "$place"; done
    exit "$status"
} 2>/dev/null

# -- the plan --------------------------------------------------------------------------------------------------------

refuse() {
    say "$*"
    say "Nothing was changed. The host is between two states; it may not come up."
    leave 1
}

of_operation() { # file operation
    while read -r line || [ -n "$line" ]; do
        case $line in *"\"operation\": \"$2\""*) return 0 ;; esac
    done 2>/dev/null <"$1"
    return 1
}

read_plan() {
    operation='' store='' sums='' whole='' format=''
    while IFS=$tab read -r word value _rest; do
        case $word in
            interlock-rescue) format=$value ;;
            operation) operation=$value ;;
            store) store=$root$value ;;
            sums) sums=$value ;;
            end) whole=yes ;;
        esac
    done <"$state/rescue/plan"
    [ "$format" = 1 ] && [ "$whole" = yes ]
} 2>/dev/null

mount_all() {
    while IFS=$tab read -r word point device kind options <&4; do
        [ "$word" != mount ] || mount_wanted "$point" "$device" "$kind" "$options" || return 1
    done 4<"$state/rescue/plan"
}

# Every pre-image is compared with its digest before anything is changed.
check_store() {
    [ -e "$store/complete" ] || refuse "the undo store $store is not there, or was not finished"
    cd "$store" || refuse "the undo store $store cannot be read"
    echo "$sums  rescue.sums" | sha256sum -c >"$run/interlock-rescue.sums" 2>&1 ||
        refuse "the list of digests $store/rescue.sums is damaged"
    sha256sum -c rescue.sums >"$run/interlock-rescue.sums" 2>&1 && { cd /; return; }
    while read -r line; do
        case $line in *': OK') ;; *) say "$line" ;; esac
    done <"$run/interlock-rescue.sums"
    refuse "the undo store $store is damaged: what is named above is gone or altered"
}

# -- its steps -------------------------------------------------------------------------------------------------------

changed=0
failed=0

failure() {
    failed=$((failed + 1))
    say "could not $kind $path"
}

# Sets `plain` to a name as it is; what would end a field or a line is written with a backslash.
decode() {
    case $1 in
        *\\*) plain=$(printf '%bx' "$1") && plain=${plain%x} ;;
        *) plain=$1 ;;
    esac
}

# A directory stands where something else was, or a link leads into one: mv would put the file inside.
make_way() {
    [ -d "$real" ] || return 0
    if [ -L "$real" ]; then
        rm -f "$real"
    elif ! rmdir "$real" 2>/dev/null; then
        number=
        while [ -e "$real$suffix-aside$number" ]; do number=$((number + 1)); done
        mv "$real" "$real$suffix-aside$number"
    fi
}

# What an earlier rescue has left that was cut off.
clear_new() {
    if [ -e "$real$suffix" ] || [ -L "$real$suffix" ]; then rm -f "$real$suffix"; fi
}

place() { # the new name is whole before it takes the old one's place
    make_way
    mv -f "$real$suffix" "$real" && changed=$((changed + 1))
}

put_folder() {
    if [ -L "$real" ] || [ ! -d "$real" ]; then
        rm -f "$real"
        mkdir -p "$real" && chown "$owner:$group" "$real" && chmod "$mode" "$real" && changed=$((changed + 1))
    fi
}

put_link() {
    if [ -L "$real" ] || ! [ "$real" -ef "$source" ]; then
        clear_new
        ln "$source" "$real$suffix" && place || return 1
    fi
    # rpm takes setuid and setgid from the inode that it replaces.
    [ "$mode" = - ] || chmod "$mode" "$real"
}

put_copy() {
    clear_new
    cp -a "$source" "$real$suffix" && place
}

put_symlink() {
    # It leads where it led: enough for now, and no program has to be started for each of a thousand links.
    case $target in
        /*) ;;
        *) if [ -L "$real" ] && [ "$real" -ef "${real%/*}/$target" ]; then return 0; fi ;;
    esac
    if [ -L "$real" ] && [ "$(readlink "$real")" = "$target" ]; then return 0; fi
    clear_new
    ln -s "$target" "$real$suffix" || return 1
    [ "$owner:$group" = 0:0 ] || chown -h "$owner:$group" "$real$suffix"
    place
}

# Removals, and links that keep their name within one directory, are done many at a time: to start a program for each of
# ten thousand files takes minutes. What waits is in the arguments of carry_out.
waits=
into=

fits() { # how many wait
    [ "$1" -lt 100 ] || return 1
    case $kind in
        remove) [ "$waits" = remove ] && { [ -L "$real" ] || [ ! -d "$real" ]; } ;;
        link) [ "$waits" = link ] && [ "${real%/*}" = "$into" ] ;;
        *) return 1 ;;
    esac
}

do_waiting() {
    changed=$((changed + $#))
    if [ "$waits" = remove ]; then rm -f "$@"; else ln -f "$@" "$into/"; fi && return
    failed=$((failed + 1))
    say "could not do all of: $waits $*"
}

carry_out() {
    set --
    while IFS=$tab read -r kind mode owner group name path <&3; do
        decode "$path"
        real=$root$plain
        if [ $# -gt 0 ] && ! fits $#; then
            do_waiting "$@"
            set --
        fi
        case $kind in
            folder) put_folder || failure ;;
            remove)
                if [ -L "$real" ] || { [ -e "$real" ] && [ ! -d "$real" ]; }; then
                    waits=remove
                    set -- "$@" "$real"
                elif [ -d "$real" ] && rmdir "$real" 2>/dev/null; then
                    changed=$((changed + 1))
                fi
                ;;
            link)
                decode "$name"
                source=$store/files/$plain
                if [ "$mode" != - ] || [ "${source##*/}" != "${real##*/}" ]; then
                    put_link || failure
                elif [ -L "$real" ] || ! [ "$real" -ef "$source" ]; then
                    make_way
                    waits=link into=${real%/*}
                    set -- "$@" "$source"
                fi
                ;;
            copy) decode "$name" && source=$store/files/$plain && put_copy || failure ;;
            twin) decode "$name" && source=$root$plain && put_link || failure ;;
            symlink) decode "$name" && target=$plain && put_symlink || failure ;;
            end)
                [ "$failed" = 0 ]
                return
                ;;
            *) failure ;;
        esac
    done 3<"$store/rescue.list"
    say "the list ends too early"
    return 1
}

# -- now -------------------------------------------------------------------------------------------------------------

mkdir -p "$run" 2>/dev/null
[ -e "$state/dirty.json" ] || mount_state
[ -e "$state/dirty.json" ] || leave 0
read_plan || { say "the host is marked as unfinished, and there is no plan to restore it: it stays as it is"; leave 0; }
of_operation "$state/dirty.json" "$operation" || { say "the plan is not of the unfinished operation"; leave 0; }
[ ! -e "$store/committed" ] || { say "operation $operation was proven: it stays"; leave 0; }
! of_operation "$state/rescue/done" "$operation" || { say "operation $operation was restored before"; leave 0; }

say "operation $operation was cut off: the files from before are put back"
check_store
access=rw
make_writable "${root:-/}" && mount_all || refuse "not every file system could be mounted for writing"
if carry_out; then
    sync
    say "$changed paths were put back; the rest is done when the host is up"
    cat "$log" >"$store/rescue.log"
    sync
    printf '{"operation": "%s", "changed": %s}\n' "$operation" "$changed" >"$state/rescue/done.new" &&
        sync && mv -f "$state/rescue/done.new" "$state/rescue/done" && sync
    leave 0
fi
sync
say "$failed steps failed: the host may not come up; the next boot tries again"
cat "$log" >"$store/rescue.log"
leave 1
