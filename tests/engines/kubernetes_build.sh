#!/bin/bash
# Build the daemons of Kubernetes 1.20 from Debian's source package: kubernetes_build.sh FOLDER; what is there already is left alone.
set -euo pipefail

version=1.20.5+really1.20.2-1.1+deb12u1
daemons=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
folder=$1
go=/usr/lib/go-1.19/bin/go

main() {
    ! built || return 0
    mkdir -p "$folder"
    [[ -x $go ]] || install_go
    fetch_source
    renew_reflection
    compile
    rm -rf "$folder/source" "$folder/gopath" "$folder/gocache" "$folder/apt"
    echo "$version" >"$folder/bin/version"
}

built() {
    [[ $(cat "$folder/bin/version" 2>/dev/null) == "$version" ]]
}

install_go() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends golang-1.19-go dpkg-dev >/dev/null
}

# Fetch and unpack the source with lists of its own: the machine's sources need not name source packages.
fetch_source() {
    local apt=$folder/apt
    mkdir -p "$apt/lists/partial" "$apt/empty"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" >"$apt/sources.list"
    local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/empty" -o "Dir::State::Lists=$apt/lists"
        -o "Dir::Cache::srcpkgcache=" -o "Dir::Cache::pkgcache=" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -qq
    (cd "$apt" && apt-get "${options[@]}" source -qq --download-only "kubernetes=$version")
    rm -rf "$folder/source" "$apt/unpacked"
    dpkg-source --no-check -x "$apt"/kubernetes_*.dsc "$apt/unpacked" >/dev/null
    mv "$apt/unpacked" "$folder/source"
}

# Replace a package that looks into the Go runtime: what Kubernetes 1.20 brings doesn't know this one, and crashes.
renew_reflection() {
    local package=github.com/modern-go/reflect2
    (cd "$folder/apt" && apt-get -o APT::Sandbox::User=root download -qq golang-github-modern-go-reflect2-dev)
    dpkg -x "$folder"/apt/golang-github-modern-go-reflect2-dev_*.deb "$folder/apt/reflect2"
    rm -rf "$folder/source/vendor/$package"
    cp -r "$folder/apt/reflect2/usr/share/gocode/src/$package" "$folder/source/vendor/$package"
}

# Compile as a package of an old-style GOPATH, because the vendored modules don't agree with this compiler's module mode.
compile() {
    export GO111MODULE=off GOPATH=$folder/gopath GOCACHE=$folder/gocache CGO_ENABLED=0 GOFLAGS= GOTOOLCHAIN=local
    local tree=$GOPATH/src/k8s.io/kubernetes stamp=k8s.io/kubernetes/vendor/k8s.io/component-base/version name
    mkdir -p "$GOPATH/src/k8s.io" "$folder/bin"
    [[ -e $tree ]] || ln -s "$folder/source" "$tree"
    cd "$tree"
    write_openapi
    for name in "${daemons[@]}"; do
        nice "$go" build -o "$folder/bin/$name" -trimpath -tags "providerless dockerless" \
            -ldflags "-s -w -X $stamp.gitVersion=v1.20.2 -X $stamp.gitMajor=1 -X $stamp.gitMinor=20" "k8s.io/kubernetes/cmd/$name"
    done
}

# Write what the API server says of its types, which the source package leaves to its own makefiles.
write_openapi() {
    local root=k8s.io/kubernetes package=pkg/generated/openapi typed
    typed=$(grep -rlR --include='*.go' '+k8s:openapi-gen=' vendor/k8s.io pkg cmd | xargs -n1 dirname | sort -u |
        grep -vE 'sample-|code-generator|kube-openapi|gengo' | sed "s|^|$root/|" | paste -sd,)
    "$go" run "$root/vendor/k8s.io/kube-openapi/cmd/openapi-gen" -i "$typed" -p "$root/$package" -O zz_generated.openapi \
        -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r /dev/null -o "$GOPATH/src"
    sed -i "s|$root/vendor/||g" "$package/zz_generated.openapi.go"
}

main
