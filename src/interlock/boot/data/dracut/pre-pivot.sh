#!/bin/sh
# Sourced by dracut with the host's root mounted at $NEWROOT.
sh /usr/sbin/interlock-rescue "$NEWROOT" || warn "Interlock could not put the host's files back; see /run/initramfs/interlock-rescue.log"
