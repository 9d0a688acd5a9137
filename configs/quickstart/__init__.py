"""The bundled sample: chat logs written for this project, and the configuration that mines them."""
