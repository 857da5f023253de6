"""Server, I/O side: ingest, stores, jobs, findings, alerts, pages."""
