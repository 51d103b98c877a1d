"""Programs that tests run and that neither Python nor Node.js brings."""
