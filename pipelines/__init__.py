"""Which transforms, in which order; configs, runners and the ``sluice`` command."""
