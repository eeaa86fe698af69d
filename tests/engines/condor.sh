# HTCondor for start.sh and stop.sh: a personal pool from the packages of a newer Debian, which stay in a folder of their own.

# shellcheck disable=SC2154
condor=$state/condor
condor_software=${WIRECELL_ML_SOFTWARE:-$HOME/.cache/wirecell_ml/software}/condor
condor_port=${WIRECELL_ML_CONDOR_PORT:-16830}
condor_suites=(sid trixie) # sid has the newest, and may be in the midst of a change
condor_ids=(1 1)           # whom root is within the pool, since HTCondor serves no root: daemon, whom every Debian knows

condor_up() {
    [[ -x $condor/bin/condor_status ]] && condor_runs &&
        timeout 10 "$condor/bin/condor_status" -af Name 2>/dev/null | grep -q . &&
        timeout 10 "$condor/bin/condor_status" -schedd -af Name 2>/dev/null | grep -q .
}

start_condor() {
    [[ -n $(command -v apt-get) && -r /usr/share/keyrings/debian-archive-keyring.gpg && $(uname -m) == x86_64 ]] ||
        fail "HTCondor cannot be installed here: needs apt-get, the keys of Debian, and x86_64" 3
    install_condor
    configure_condor
    condor_runs || "$condor/bin/condor_master" -pidfile "$condor/master.pid" </dev/null >"$condor/start.log" 2>&1
    within 60 condor_up || fail "HTCondor did not come up in 60 s; see $condor/log"
    set_variable CONDOR_CONFIG "$condor/condor_config"
    set_variable WIRECELL_ML_CONDOR_BIN "$condor/bin"
}

say_condor() {
    echo "engines: HTCondor $("$condor/bin/condor_version" | grep -oE '[0-9]+(\.[0-9]+)+' | head -1) is up"
}

# Succeed if the master of this pool runs.
condor_runs() {
    local pid
    pid=$(cat "$condor/master.pid" 2>/dev/null) && grep -qsaF "$condor/master.pid" "/proc/$pid/cmdline"
}

# Unpack HTCondor and the libraries that it needs, unless they are here.
install_condor() {
    [[ ! -e $condor_software/complete ]] || return 0
    local suite work
    work=$(mktemp -d)
    for suite in "${condor_suites[@]}"; do
        rm -rf "$condor_software"
        if fetch_condor "$suite" "$work/$suite" >"$work/log" 2>&1; then
            unpack_condor "$work/$suite" && touch "$condor_software/complete"
            rm -rf "$work"
            return 0
        fi
    done
    fail "HTCondor cannot be installed here: $(tail -1 "$work/log")" 3
}

# Download the packages of a suite into a folder, with an apt that knows of nothing that is installed.
fetch_condor() {
    mkdir -p "$2"/{state/lists/partial,cache/archives/partial}
    touch "$2/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $1 main" >"$2/sources.list"
    cat >"$2/apt.conf" <<APT
Dir::Etc::sourcelist "$2/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$2/state";
Dir::State::status "$2/status";
Dir::Cache "$2/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
APT
    APT_CONFIG=$2/apt.conf apt-get update --error-on=any &&
        APT_CONFIG=$2/apt.conf apt-get install --yes --download-only condor patchelf
}

# Unpack downloaded packages, and let each program use their libraries, not those of this machine.
unpack_condor() {
    local package libraries=$condor_software/usr/lib/x86_64-linux-gnu file
    mkdir -p "$condor_software"
    for package in "$1"/cache/archives/{lib,condor,patchelf}*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$condor_software" --exclude=./usr/share/doc --exclude=./usr/share/man
    done
    find "$condor_software"/usr/{bin,sbin,libexec/condor} -type f | while read -r file; do
        patch_program --print-interpreter "$file" >/dev/null 2>&1 || continue
        patch_program --set-interpreter "$libraries/ld-linux-x86-64.so.2" "$file"
        patch_program --force-rpath --set-rpath "$libraries:$condor_software/usr/lib" "$file"
    done
}

patch_program() {
    [[ ${!#} != */patchelf ]] || return 1 # which is at work
    "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$condor_software/usr/bin/patchelf" "$@"
}

configure_condor() {
    local owner=$(id -un) name program
    ((EUID != 0)) || owner=$(id -un "${condor_ids[0]}")
    mkdir -p "$condor"/{bin,log,lock,run,spool,execute}
    mkdir -p -m 700 "$condor"/{passwords,tokens}
    [[ -s $condor/passwords/POOL ]] || (umask 077 && head -c 64 /dev/urandom >"$condor/passwords/POOL")
    sed -e "s|@FOLDER@|$condor|g" -e "s|@SOFTWARE@|$condor_software|g" -e "s|@PORT@|$condor_port|g" \
        -e "s|@OWNER@|$owner|g" "$here/condor_config" >"$condor/condor_config"
    install -m 755 "$here/condor_gpus" "$condor/gpus"
    for program in "$condor_software"/usr/{bin,sbin}/condor_*; do
        name=$(basename "$program")
        condor_wrapper "$program" >"$condor/bin/$name"
        chmod 755 "$condor/bin/$name"
    done
}

# Print the command that a user of this pool calls for one of HTCondor's.
condor_wrapper() {
    echo '#!/bin/sh'
    echo "export CONDOR_CONFIG=\${CONDOR_CONFIG:-'$condor/condor_config'}"
    if ((EUID == 0)); then
        echo "[ \"\$(id -u)\" != 0 ] || exec unshare --user --map-user=${condor_ids[0]} --map-group=${condor_ids[1]} '$1' \"\$@\""
    fi
    echo "exec '$1' \"\$@\""
}

stop_condor() {
    local pid
    condor_runs || return 0
    pid=$(cat "$condor/master.pid")
    "$condor/bin/condor_rm" -all >/dev/null 2>&1 || true
    kill -QUIT "$pid" # fast: jobs are killed, too
    within 5 condor_stopped || condor_processes | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
}

condor_stopped() {
    [[ -z $(condor_processes) ]]
}

# Print the processes of this pool: its daemons, and what its jobs left running.
condor_processes() {
    local process
    for process in $(grep -lsazE "^(CONDOR_CONFIG=$condor/condor_config|_CONDOR_SCRATCH_DIR=$condor/execute/.*)$" /proc/[0-9]*/environ); do
        ! is_of_condor "$(dirname "$process")" || basename "$(dirname "$process")"
    done
}

# Succeed if a process with these variables is a daemon or a job; whoever looks at the pool has them, too.
is_of_condor() {
    [[ $(readlink "$1/exe") == "$condor_software"/usr/* ]] || grep -qsaz '^_CONDOR_SCRATCH_DIR=' "$1/environ"
}

purge_condor() {
    rm -rf "$condor"
    settings_without CONDOR_CONFIG | write_settings
    settings_without WIRECELL_ML_CONDOR_BIN | write_settings
}
