#!/bin/sh
# Called once by Patroni with the address of the new primary: the role and the database of the application.
# jit stays off for it: compiling a wide statement takes longer than running it.
set -eu
exec "${PATRONI_POSTGRESQL_BIN_DIR:+$PATRONI_POSTGRESQL_BIN_DIR/}psql" --quiet --no-psqlrc --set ON_ERROR_STOP=1 \
  --set password="$APPLICATION_PASSWORD" "$1" <<'SQL'
CREATE ROLE selvedge LOGIN PASSWORD :'password';
ALTER ROLE selvedge SET jit = off;
CREATE DATABASE selvedge OWNER selvedge;
SQL
