"""No unproven reboot: the guard, the boot check, the rehearsal, and the rescue from the initramfs."""
