"""Work on machines without network: what goes there (bundle), what runs there, what comes home."""
