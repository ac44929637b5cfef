"""The Tuner of lt-callbacks, under the name that Lightning gives it: ``lt.tuner.Tuner``."""

from lt_callbacks.tuner import Tuner

__all__ = ["Tuner"]
