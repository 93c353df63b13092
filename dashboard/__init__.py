"""The dashboard: pages in the browser over the REST API, nothing else."""
