"""What there is to install, and from whom: repositories, bulletins, digests, signatures."""
