# deploy/lib/packages.sh - install what is missing, and only that.
#
# Without a network everything works when nothing is missing.
# shellcheck shell=bash disable=SC2034

PACKAGES_BUILD=(gcc libc6-dev meson ninja-build pkg-config clang libbpf-dev libmnl-dev libnftnl-dev
    libuv1-dev libraft-dev libhiredis-dev libpq-dev libjansson-dev libsqlite3-dev libssl-dev
    libcurl4-openssl-dev libmicrohttpd-dev libinih-dev libcmocka-dev libsmartcols-dev)
PACKAGES_RUN=(ca-certificates redis-server iproute2 nftables util-linux procps python3)
# What tests/bench measures hafailover against.
PACKAGES_BENCH=(redis-sentinel patroni etcd-server postgresql-15 curl)
PACKAGES_POSTGRESQL=(postgresql-15)
PACKAGES_TEST=(postgresql-15 clang-format clang-tidy cppcheck shellcheck git libclang-rt-14-dev openssl)
PACKAGES_LONG=(spin)

package_present() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# packages_install PACKAGE...
packages_install() {
    local missing=() name log
    for name in "$@"; do
        package_present "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        note "all $# packages are present"
        return
    fi
    [ "$(id -u)" -eq 0 ] || die "missing packages (run as root to install them): ${missing[*]}"
    note "installing ${#missing[@]} packages: ${missing[*]}"
    log=$(mktemp)
    no_service_starts
    no_cluster_made
    if ! apt_run "$log" install "${missing[@]}" && ! { apt_run "$log" update &&
        apt_run "$log" install "${missing[@]}"; }; then
        service_starts_again
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt could not install what is missing"
    fi
    service_starts_again
    rm -f "$log"
    # Their own services are not wanted: each host of a lab starts what it needs.
    [ -d /run/systemd/system ] || return 0
    for name in redis-server redis-sentinel etcd patroni postgresql; do
        case " ${missing[*]} " in
            *" $name"*) systemctl -q disable "$name" 2>/dev/null || true ;;
        esac
    done
}

apt_run() {
    local log=$1 verb=$2
    shift 2
    [ "$verb" = install ] && set -- -y --no-install-recommends "$@"
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$verb" "$@" \
        >>"$log" 2>&1 </dev/null
}

# Debian makes and starts a cluster of its own with each version of PostgreSQL unless told not to.
no_cluster_made() {
    local file=/etc/postgresql-common/createcluster.conf
    [ ! -e "$file" ] || return 0 # a person's, or there already
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" >"$file"
}

# Debian starts a service on installation unless a policy file says no; ours goes away again. One
# that a killed run of ours has left is known by its second line.
POLICY=/usr/sbin/policy-rc.d
POLICY_LINE='# of hafailover, for one installation'
POLICY_MADE=no
no_service_starts() {
    [ -e "$POLICY" ] && ! grep -qsxF "$POLICY_LINE" "$POLICY" && return
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_LINE" >"$POLICY"
    chmod +x "$POLICY"
    POLICY_MADE=yes
}
service_starts_again() {
    [ "$POLICY_MADE" = no ] || rm -f "$POLICY"
    POLICY_MADE=no
}
