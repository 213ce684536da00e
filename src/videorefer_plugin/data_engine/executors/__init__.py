"""Where agents work: in this process and others of this machine, or on a Ray cluster."""
