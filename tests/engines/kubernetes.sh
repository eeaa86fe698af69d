# Kubernetes for start.sh and stop.sh: a control plane and one node, built from Debian's source package, beside Debian's etcd and containerd.

# shellcheck disable=SC2154
kubernetes=$state/kubernetes
kubernetes_software=${WIRECELL_ML_SOFTWARE:-$HOME/.cache/wirecell_ml/software}/kubernetes
kubernetes_port=${WIRECELL_ML_KUBERNETES_PORT:-16840} # the API server's; the six next are those of the other daemons
kubernetes_daemons=(etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet)
kubernetes_bridge=wcml$kubernetes_port
kubernetes_network=10.244.$((kubernetes_port % 256))

kubernetes_up() {
    local daemon
    for daemon in "${kubernetes_daemons[@]}"; do
        kubernetes_runs "$daemon" || return 1
    done
    node_is_ready
}

start_kubernetes() {
    need_root Kubernetes
    provide etcd etcd-server
    provide containerd containerd runc
    provide busybox busybox-static
    provide ip iproute2
    provide openssl openssl
    provide curl curl
    [[ -x /usr/lib/cni/bridge ]] || provide /usr/lib/cni/bridge containernetworking-plugins
    "$here/kubernetes_build.sh" "$kubernetes_software" >"$state/kubernetes_build.log" 2>&1 ||
        fail "Kubernetes cannot be built here: $(tail -1 "$state/kubernetes_build.log")" 3
    configure_kubernetes
    start_control_plane
    start_node
    within 90 node_is_ready || fail "the node of Kubernetes did not become ready in 90 s; see $kubernetes/*.log"
    set_variable WIRECELL_ML_KUBECONFIG "$kubernetes/kubeconfig"
}

say_kubernetes() {
    echo "engines: Kubernetes $("$kubernetes_software/bin/kubelet" --version | grep -oE '[0-9]+(\.[0-9]+)+') is up"
}

# Print the number of a daemon's process, if it runs.
kubernetes_pid() {
    local pid
    pid=$(cat "$kubernetes/$1.pid" 2>/dev/null) && grep -qsaF "$kubernetes/" "/proc/$pid/cmdline" && echo "$pid"
}

kubernetes_runs() {
    [[ -n $(kubernetes_pid "$1") ]]
}

# Ask the API server as its administrator: a path, then further words for curl.
ask_kubernetes() {
    curl --silent --fail --max-time 5 --cacert "$kubernetes/server.crt" --header @"$kubernetes/admin.header" \
        "https://127.0.0.1:$kubernetes_port$1" "${@:2}"
}

node_is_ready() {
    ask_kubernetes /api/v1/nodes | tr -d ' \n' | grep -qE '"type":"Ready","status":"True"'
}

# Write keys, passwords and the settings of all daemons.
configure_kubernetes() {
    mkdir -p "$kubernetes"/{etcd,kubelet,cni,images}
    chmod 700 "$kubernetes"
    (umask 077 && write_keys)
    local name
    for name in containerd.toml kubelet.yaml network.conflist kubeconfig; do
        sed -e "s|@FOLDER@|$kubernetes|g" -e "s|@PORT@|$kubernetes_port|g" -e "s|@KUBELET_PORT@|$((kubernetes_port + 5))|g" \
            -e "s|@HEALTH_PORT@|$((kubernetes_port + 6))|g" -e "s|@BRIDGE@|$kubernetes_bridge|g" \
            -e "s|@NETWORK@|$kubernetes_network|g" -e "s|@TOKEN@|$(cut -d, -f1 "$kubernetes/tokens.csv")|" \
            "$here/kubernetes/$name" >"$kubernetes/$name"
    done
    mv "$kubernetes/network.conflist" "$kubernetes/cni/"
    chmod 600 "$kubernetes/kubeconfig"
}

# Write the key of the API server, the one that it signs service accounts with, and the administrator's token, unless they are there.
write_keys() {
    local token
    [[ ! -e $kubernetes/admin.header ]] || return 0
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=kubernetes -addext subjectAltName=IP:127.0.0.1,IP:10.0.0.1,IP:$kubernetes_network.1 \
        -keyout "$kubernetes/server.key" -out "$kubernetes/server.crt" 2>/dev/null
    openssl genrsa -out "$kubernetes/accounts.key" 2048 2>/dev/null
    token=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
    echo "$token,admin,admin,system:masters" >"$kubernetes/tokens.csv"
    echo "Authorization: Bearer $token" >"$kubernetes/admin.header"
}

# Start a daemon unless it runs: its name, then what stands before its program, then after it.
launch() {
    local daemon=$1 before=$2
    shift 2
    ! kubernetes_runs "$daemon" || return 0
    # shellcheck disable=SC2086
    PATH=$kubernetes_software/bin:$PATH setsid $before "$daemon" "$@" </dev/null >>"$kubernetes/$daemon.log" 2>&1 &
    echo $! >"$kubernetes/$daemon.pid"
    disown
}

start_control_plane() {
    launch etcd "" --data-dir "$kubernetes/etcd" --unsafe-no-fsync --log-level warn --listen-peer-urls "http://127.0.0.1:$((kubernetes_port + 2))" \
        --listen-client-urls "http://127.0.0.1:$((kubernetes_port + 1))" --advertise-client-urls "http://127.0.0.1:$((kubernetes_port + 1))"
    start_api_server
    within 60 ask_kubernetes /readyz >/dev/null || fail "the API server of Kubernetes does not answer; see $kubernetes/kube-apiserver.log"
    launch kube-controller-manager "" --kubeconfig "$kubernetes/kubeconfig" --bind-address 127.0.0.1 --secure-port "$((kubernetes_port + 3))" \
        --port 0 --leader-elect=false --use-service-account-credentials=false --service-account-private-key-file "$kubernetes/accounts.key" \
        --root-ca-file "$kubernetes/server.crt" --node-monitor-period 1s --node-monitor-grace-period 12s --cert-dir "$kubernetes/certificates"
    launch kube-scheduler "" --kubeconfig "$kubernetes/kubeconfig" --bind-address 127.0.0.1 --secure-port "$((kubernetes_port + 4))" \
        --port 0 --leader-elect=false --cert-dir "$kubernetes/certificates"
}

start_api_server() {
    launch kube-apiserver "" --etcd-servers "http://127.0.0.1:$((kubernetes_port + 1))" --bind-address 127.0.0.1 --secure-port "$kubernetes_port" \
        --advertise-address 127.0.0.1 --service-cluster-ip-range 10.0.0.0/24 --tls-cert-file "$kubernetes/server.crt" \
        --tls-private-key-file "$kubernetes/server.key" --token-auth-file "$kubernetes/tokens.csv" --authorization-mode RBAC \
        --service-account-key-file "$kubernetes/accounts.key" --service-account-signing-key-file "$kubernetes/accounts.key" \
        --service-account-issuer https://kubernetes.test --kubelet-preferred-address-types InternalIP \
        --kubelet-client-certificate "$kubernetes/server.crt" --kubelet-client-key "$kubernetes/server.key" --endpoint-reconciler-type none
}

# Start the daemons of the node, in a mount namespace of their own, so that nothing of theirs stays mounted when they end.
start_node() {
    make_bridge
    start_containerd
    within 30 ctr_kubernetes version >/dev/null 2>&1 || fail "containerd does not answer; see $kubernetes/containerd.log"
    "$here/kubernetes/image.sh" "$kubernetes/images/unit.tar"
    ctr_kubernetes images import "$kubernetes/images/unit.tar" >/dev/null
    start_kubelet
}

# Make the bridge, with an address that stays the same when the pod that it would have it from ends: others would lose their way.
make_bridge() {
    local address
    address=$(printf '0a:58:0a:f4:%02x:01' "$((kubernetes_port % 256))")
    ip link show "$kubernetes_bridge" >/dev/null 2>&1 || ip link add "$kubernetes_bridge" address "$address" type bridge
    ip address replace "$kubernetes_network.1/24" dev "$kubernetes_bridge"
    ip link set "$kubernetes_bridge" up
}

start_containerd() {
    mkdir -p /run/netns
    launch containerd "unshare --mount --propagation slave $here/kubernetes/enclosed.sh" --config "$kubernetes/containerd.toml"
}

start_kubelet() {
    launch kubelet "nsenter --mount=/proc/$(kubernetes_pid containerd)/ns/mnt" --config "$kubernetes/kubelet.yaml" \
        --kubeconfig "$kubernetes/kubeconfig" --container-runtime remote --container-runtime-endpoint "unix://$kubernetes/containerd.sock" \
        --root-dir "$kubernetes/kubelet" --cert-dir "$kubernetes/certificates" --hostname-override node --node-ip "$kubernetes_network.1"
}

ctr_kubernetes() {
    ctr --address "$kubernetes/containerd.sock" --namespace k8s.io "$@"
}

# Stop the daemons, first the one that would start again what is stopped, and all pods.
stop_kubernetes() {
    local daemon
    for daemon in kubelet kube-scheduler kube-controller-manager kube-apiserver etcd containerd; do
        stop_kubernetes_daemon "$daemon"
    done
    kubernetes_left | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
    within 10 none_of_kubernetes || fail "processes of pods do not end: $(kubernetes_left | paste -sd " ")"
    find /sys/fs/cgroup -depth -type d \( -name k8s.io -o -path '*/k8s.io/*' \) -exec rmdir {} + 2>/dev/null || true
    ip link delete "$kubernetes_bridge" 2>/dev/null || true
}

stop_kubernetes_daemon() {
    local pid
    pid=$(kubernetes_pid "$1") || return 0
    kill "$pid"
    within 20 kubernetes_has_ended "$1" || kill -KILL "$pid"
}

kubernetes_has_ended() {
    ! kubernetes_runs "$1"
}

# Print what keeps pods alive, and what runs in them: the shims of containers, and their children.
kubernetes_left() {
    local process
    for process in $(grep -lsa "$kubernetes/[c]ontainerd.sock" /proc/[0-9]*/cmdline); do
        process=$(basename "$(dirname "$process")")
        cat "/proc/$process/task"/*/children 2>/dev/null || true
        echo "$process"
    done
}

none_of_kubernetes() {
    [[ -z $(kubernetes_left) ]]
}

purge_kubernetes() {
    rm -rf "$kubernetes"
    settings_without WIRECELL_ML_KUBECONFIG | write_settings
}
