#!/bin/bash
# Carries Interlock's rescue into every initramfs that dracut makes. It does nothing on a host that is not marked.

check() {
    return 0
}

depends() {
    echo base
}

install() {
    inst_multiple cat chmod chown cp ln mkdir mount mv readlink rm rmdir sha256sum sync umount
    inst_multiple -o blkid
    inst_script "$moddir/rescue.sh" /usr/sbin/interlock-rescue
    # After /usr is mounted (50), before the new root is used.
    inst_hook pre-pivot 60 "$moddir/pre-pivot.sh"
}
