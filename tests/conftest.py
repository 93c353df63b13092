"""What every test runs under: no network, one thread. Set before a library reads it."""

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# the same few examples in every run; `pytest --hypothesis-profile long` looks for others
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=3000, deadline=None, print_blob=True)
settings.load_profile("same")
