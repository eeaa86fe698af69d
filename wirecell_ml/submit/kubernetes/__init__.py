"""Kubernetes: a Job per unit. The only package that knows the API server, pods and nodes."""
