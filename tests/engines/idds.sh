# The engine idds: a real iDDS server over TLS, its database in our PostgreSQL, and an OIDC issuer beside it.

idds=$state/idds
idds_port=${WIRECELL_ML_IDDS_PORT:-16870} # the server's; the issuer's is the next

# Succeed if the server takes our token and answers from its database.
idds_up() {
    idds_running && idds_app ping 2>/dev/null
}

idds_running() {
    local pid
    pid=$(cat "$idds/server.pid" 2>/dev/null) && grep -qsaF "idds_app.py" "/proc/$pid/cmdline"
}

idds_app() {
    "$idds/venv/bin/python" "$here/idds_app.py" "$1" "$idds"
}

start_idds() {
    postgres_up || start_postgres
    mkdir -p "$idds/log" "$idds/cache"
    install_idds
    configure_idds
    idds_app prepare >"$idds/log/prepare.log" 2>&1 || fail "iDDS: no tables or keys; see $idds/log/prepare.log"
    if ! idds_running; then
        setsid "$idds/venv/bin/python" "$here/idds_app.py" serve "$idds" </dev/null >>"$idds/log/server.log" 2>&1 &
        echo $! >"$idds/server.pid"
    fi
    within 60 idds_up || fail "iDDS did not come up in 60 s; see $idds/log/server.log"
    set_variable WIRECELL_ML_IDDS "https://127.0.0.1:$idds_port/idds"
    set_variable WIRECELL_ML_IDDS_FOLDER "$idds"
}

# The list is complete, so what it pins is all that is installed: iDDS wants whole grid clients that nothing here uses.
install_idds() {
    ! cmp -s "$here/idds-constraints.txt" "$idds/installed.txt" || return 0
    python3 -c 'import ensurepip' 2>/dev/null || provide_venv
    python3 -m venv --clear "$idds/venv"
    "$idds/venv/bin/pip" install --quiet --no-deps --requirement "$here/idds-constraints.txt" >"$idds/log/install.log" 2>&1 ||
        fail "iDDS cannot be installed; see $idds/log/install.log" 3
    cp "$here/idds-constraints.txt" "$idds/installed.txt"
}

provide_venv() {
    need_root "iDDS"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
}

configure_idds() {
    local password
    password=$(sed -n 's|^default = .*//idds:\(.*\)@.*|\1|p' "$idds/idds.cfg" 2>/dev/null || true)
    password=${password:-$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')}
    give_idds_database "$password"
    sed -e "s|@FOLDER@|$idds|g" -e "s|@PORT@|$idds_port|g" -e "s|@ISSUER_PORT@|$((idds_port + 1))|g" \
        -e "s|@DATABASE@|idds:$password@127.0.0.1:$postgres_port/idds|g" "$here/idds.cfg" |
        (umask 077 && cat >"$idds/idds.cfg")
}

# Make the role and the database, if they are missing, and give the role its password.
give_idds_database() {
    as_postgres <<SQL
SELECT 'CREATE ROLE idds LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'idds') \gexec
ALTER ROLE idds PASSWORD '$1';
SELECT 'CREATE DATABASE idds OWNER idds' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'idds') \gexec
SQL
}

say_idds() {
    echo "engines: iDDS $(sed -n 's/^idds-server==//p' "$idds/installed.txt") is up"
}

stop_idds() {
    local pid
    idds_running || return 0
    pid=$(cat "$idds/server.pid")
    kill "$pid"
    within 20 idds_has_ended || kill -KILL "$pid"
}

idds_has_ended() {
    ! idds_running
}

purge_idds() {
    rm -rf "$idds"
    settings_without WIRECELL_ML_IDDS | write_settings
    settings_without WIRECELL_ML_IDDS_FOLDER | write_settings
}
