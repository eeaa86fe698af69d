#!/bin/bash
# Install and start the engines that tests use: start.sh [slurm] [postgres], by default both.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
source "$here/condor.sh"
source "$here/idds.sh"
source "$here/kubernetes.sh"

node=$(hostname -s)
slurm_port=${WIRECELL_ML_SLURM_PORT:-16817} # the controller's; the node's is the next
postgres_port=${WIRECELL_ML_POSTGRES_PORT:-16819}

main() {
    check_names "$@"
    alone "$@"
    (($#)) || set -- "${engines[@]}"
    local name
    for name; do
        "${name}_up" || "start_$name"
        "say_$name"
    done
}

# Install Debian packages, if the command that they bring isn't there.
provide() {
    local command=$1
    shift
    [[ -z $(command -v "$command") ]] || return 0
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_root() {
    ((EUID == 0)) && [[ -n $(command -v apt-get) ]] ||
        fail "$1 cannot be installed here: needs root and apt-get" 3
}

# Set a variable in env.sh.
set_variable() {
    { settings_without "$1" && echo "export $1=$2"; } | write_settings
}

slurm_up() {
    running slurmctld && running slurmd && node_ready
}

node_ready() {
    SLURM_CONF=$slurm/slurm.conf timeout 5 sinfo --noheader --format=%t 2>/dev/null | grep -qxE '(idle|mix|alloc|comp|plnd)-?'
}

start_slurm() {
    need_root Slurm
    provide munged munge
    provide slurmctld slurm-wlm
    start_munge
    configure_slurm
    running slurmctld || slurmctld -f "$slurm/slurm.conf" </dev/null >"$slurm/start.log" 2>&1
    running slurmd || slurmd -f "$slurm/slurm.conf" -N "$node" </dev/null >>"$slurm/start.log" 2>&1
    within 60 node_ready || fail "Slurm did not come up in 60 s; see $slurm/*.log"
    set_variable SLURM_CONF "$slurm/slurm.conf"
}

start_munge() {
    ! munge --no-input >/dev/null 2>&1 || return 0
    [[ -e /etc/munge/munge.key ]] || setpriv --reuid=munge --regid=munge --init-groups mungekey
    mkdir -p /run/munge
    chown munge: /run/munge
    setpriv --reuid=munge --regid=munge --init-groups munged --force </dev/null >/dev/null 2>&1
    within 10 munge --no-input >/dev/null || fail "munged does not answer"
}

configure_slurm() {
    mkdir -p "$slurm/state" "$slurm/spool"
    local name
    for name in slurm.conf gres.conf; do
        sed -e "s|@FOLDER@|$slurm|g" -e "s|@NODE@|$node|g" -e "s|@CONTROLLER_PORT@|$slurm_port|g" \
            -e "s|@NODE_PORT@|$((slurm_port + 1))|g" "$here/$name" >"$slurm/$name"
    done
}

say_slurm() {
    echo "engines: Slurm $(slurmd -V | cut -d' ' -f2) is up"
}

postgres_url() {
    sed -n 's/^export WIRECELL_ML_POSTGRES=//p' "$settings" 2>/dev/null || true
}

# Succeed if PostgreSQL answers at the URL in env.sh.
postgres_up() {
    local url
    url=$(postgres_url)
    [[ -n $url ]] && PGCONNECT_TIMEOUT=5 psql --quiet "${url/+psycopg/}" --command '' 2>/dev/null
}

start_postgres() {
    need_root PostgreSQL
    provide pg_createcluster postgresql
    local version password
    version=$(postgres_version)
    [[ -d /etc/postgresql/$version/$cluster ]] ||
        pg_createcluster "$version" "$cluster" --locale=C.UTF-8 -- --auth-local=peer --auth-host=scram-sha-256 >/dev/null
    pg_conftool "$version" "$cluster" set port "$postgres_port"
    postgres_online "$version" ||
        pg_ctlcluster --skip-systemctl-redirect "$version" "$cluster" start -o "-c listen_addresses=127.0.0.1" </dev/null
    password=$(postgres_url | sed 's/.*:\(.*\)@.*/\1/')
    password=${password:-$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')}
    give_database "$password"
    set_variable WIRECELL_ML_POSTGRES "postgresql+psycopg://$cluster:$password@127.0.0.1:$postgres_port/$cluster"
    within 30 postgres_up || fail "PostgreSQL does not answer; see /var/log/postgresql"
}

# Make the role and the database, if they are missing, and give the role a new password.
give_database() {
    as_postgres <<SQL
SELECT 'CREATE ROLE $cluster LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$cluster') \gexec
ALTER ROLE $cluster CREATEDB PASSWORD '$1';
SELECT 'CREATE DATABASE $cluster OWNER $cluster' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$cluster') \gexec
SQL
}

as_postgres() {
    (cd / && setpriv --reuid=postgres --regid=postgres --init-groups \
        psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --port="$postgres_port" postgres)
}

say_postgres() {
    echo "engines: PostgreSQL $(psql --version | grep -oE '[0-9]+(\.[0-9]+)+' | head -1) is up"
}

main "$@"
