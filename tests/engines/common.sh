# What start.sh and stop.sh both know: the names of the engines, where their state lives, which daemons run.

# shellcheck disable=SC2034
engines=(slurm postgres condor idds)
slow_engines=(kubernetes) # which start.sh starts where they are named: the first time, they are built
state=${WIRECELL_ML_ENGINES:-$HOME/.cache/wirecell_ml/engines}
settings=$state/env.sh
slurm=$state/slurm
cluster=wirecell # the name of the PostgreSQL cluster, its role and its database

# Succeed if this Slurm's daemon of that name runs.
running() {
    local pid
    pid=$(cat "$slurm/$1.pid" 2>/dev/null) && is_ours "$pid"
}

# Succeed if a process is a daemon of this Slurm; one that has ended, or took over the number, has another command line.
is_ours() {
    grep -qsaF "$slurm/slurm.conf" "/proc/$1/cmdline"
}

# Print the newest version of PostgreSQL that is installed.
postgres_version() {
    ls /usr/lib/postgresql 2>/dev/null | sort -V | tail -1
}

# Succeed if our cluster of this version of PostgreSQL runs.
postgres_online() {
    pg_lsclusters --no-header 2>/dev/null | grep -q "^$1  *$cluster .*online"
}

# Print env.sh without a variable.
settings_without() {
    grep -v "^export $1=" "$settings" 2>/dev/null || true
}

# Write env.sh, which holds a password, from standard input.
write_settings() {
    (umask 077 && cat >"$settings.new")
    mv "$settings.new" "$settings"
}

# Repeat a command until it succeeds, for at most so many seconds.
within() {
    local deadline=$((SECONDS + $1))
    until "${@:2}"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

fail() {
    echo "engines: $1" >&2
    exit "${2:-1}"
}

# Run the calling script again alone, so that two callers never start or stop the same engine at once.
alone() {
    [[ ${WIRECELL_ML_ENGINES_LOCK:-} != "$state" ]] || return 0
    mkdir -p "$state"
    WIRECELL_ML_ENGINES_LOCK=$state exec flock --close "$state.lock" "$0" "$@"
}

# Stop with a word about the first name that is no engine.
check_names() {
    local name
    for name; do
        [[ " ${engines[*]} ${slow_engines[*]} " == *" $name "* ]] ||
            fail "no engine '$name'. Known here: ${engines[*]} ${slow_engines[*]}" 2
    done
}
