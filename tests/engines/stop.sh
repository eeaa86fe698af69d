#!/bin/bash
# Stop the engines and whatever their jobs left running: stop.sh [slurm] [postgres] [--purge]; --purge removes their state too.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
source "$here/condor.sh"
source "$here/idds.sh"
source "$here/kubernetes.sh"

main() {
    local name purge=no names=()
    for name; do
        if [[ $name == --purge ]]; then purge=yes; else names+=("$name"); fi
    done
    check_names "${names[@]}"
    [[ -d $state ]] || return 0
    alone "$@"
    ((${#names[@]})) || names=("${engines[@]}" "${slow_engines[@]}")
    for name in "${names[@]}"; do
        "stop_$name"
        [[ $purge == no ]] || "purge_$name"
    done
    [[ $purge == no ]] || clear_state
}

# Remove the folder once no engine has state in it.
clear_state() {
    [[ -s $settings ]] || rm -rf "$state" "$state.lock"
}

stop_slurm() {
    [[ -f $slurm/slurm.conf ]] || return 0
    SLURM_CONF=$slurm/slurm.conf timeout 5 scancel --user="$(id -un)" 2>/dev/null || true
    within 7 no_jobs || kill_jobs
    stop_daemon slurmctld
    stop_daemon slurmd
}

# A daemon removes its file long before it ends, so wait for the process.
stop_daemon() {
    local pid
    running "$1" || return 0
    pid=$(cat "$slurm/$1.pid")
    kill "$pid"
    within 20 has_ended "$pid" || kill -KILL "$pid"
}

has_ended() {
    ! is_ours "$1"
}

# Print the processes of this Slurm's jobs: they carry its SLURM_CONF and a SLURM_JOB_ID.
jobs_left() {
    local process
    for process in $(grep -lzsxF "SLURM_CONF=$slurm/slurm.conf" /proc/[0-9]*/environ); do
        ! grep -qzs '^SLURM_JOB_ID=' "$process" || basename "$(dirname "$process")"
    done
}

no_jobs() {
    [[ -z $(jobs_left) ]]
}

kill_jobs() {
    jobs_left | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
}

purge_slurm() {
    rm -rf "$slurm"
    settings_without SLURM_CONF | write_settings
}

stop_postgres() {
    local version
    version=$(postgres_version)
    postgres_online "$version" || return 0
    pg_ctlcluster --skip-systemctl-redirect "$version" "$cluster" stop --mode fast
}

purge_postgres() {
    local version
    version=$(postgres_version)
    [[ ! -d /etc/postgresql/$version/$cluster ]] || pg_dropcluster "$version" "$cluster"
    settings_without WIRECELL_ML_POSTGRES | write_settings
}

main "$@"
