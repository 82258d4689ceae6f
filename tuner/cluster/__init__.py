"""Searches on the workers of a Dask cluster: `pip install tuner[cluster]`. Nothing else imports this package."""
