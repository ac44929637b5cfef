"""Batches from PyTorch DataLoaders, with a position that can be saved."""

from lt_data.combined_loader import CombinedLoader
from lt_data.combined_stream import CombinedStream
from lt_data.feed import TorchFeed
from lt_data.stream import LoaderStream

__all__ = ["CombinedLoader", "CombinedStream", "LoaderStream", "TorchFeed"]
