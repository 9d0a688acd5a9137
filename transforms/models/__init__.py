"""The engine protocol, engines and encoders."""
