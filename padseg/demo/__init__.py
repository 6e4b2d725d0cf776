"""A small generated data set, and everything that padseg does on it."""

from padseg.demo.command import demo
from padseg.demo.dataset import DEMO_CATEGORIES, DEMO_TEACHER, make_demo

__all__ = ["DEMO_CATEGORIES", "DEMO_TEACHER", "demo", "make_demo"]
