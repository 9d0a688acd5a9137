"""One YAML per dataset, rule files, templates and the bundled sample."""
