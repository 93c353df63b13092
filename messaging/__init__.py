"""The queue between coordinator and workers: names, settings, and the broker of plain files."""
