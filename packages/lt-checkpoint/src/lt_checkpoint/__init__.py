"""Crash-safe checkpoints: folders of data, without a pickle."""

__all__: list[str] = []
