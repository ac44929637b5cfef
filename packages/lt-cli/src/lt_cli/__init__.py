"""The command line of lt."""

__all__: list[str] = []
