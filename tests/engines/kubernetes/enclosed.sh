#!/bin/sh
# Run a program where the namespaces of networks are its own: enclosed.sh PROGRAM ARGUMENT ...
mount -t tmpfs tmpfs /run/netns
exec "$@"
