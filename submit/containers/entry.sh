#!/bin/sh
# The entry of the image: a module of ours is run by Python, anything else is a command: IMAGE wirecell_ml.train …
case "${1-}" in
    wirecell_ml*) set -- python -m "$@" ;;
esac
exec "$@"
