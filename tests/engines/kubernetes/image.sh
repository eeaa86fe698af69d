#!/bin/bash
# Write the image that pods run in: image.sh FILE. It has nothing but a shell and empty folders: the programs are this machine's.
set -euo pipefail

file=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work"/root/{etc,root,proc,sys,dev,usr/bin,usr/lib,usr/lib64,usr/sbin,var}
install -d -m 1777 "$work"/root/{tmp,var/tmp}
for name in bin lib lib64 sbin; do
    ln -s "usr/$name" "$work/root/$name"
done
cp "$(command -v busybox)" "$work/root/usr/bin/busybox"
ln -s busybox "$work/root/usr/bin/sh"
echo "root:x:0:0:root:/root:/bin/sh" >"$work/root/etc/passwd"
tar --create --file "$work/layer.tar" --directory "$work/root" --owner 0 --group 0 --mtime @0 --sort name .
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
cat >"$work/config.json" <<JSON
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Cmd": ["/usr/bin/busybox", "sleep", "2147483647"],
 "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}, "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
JSON
echo '[{"Config": "config.json", "RepoTags": ["localhost/wirecell:1"], "Layers": ["layer.tar"]}]' >"$work/manifest.json"
tar --create --file "$file" --directory "$work" manifest.json config.json layer.tar
