# deploy/lib/net.sh - hosts made of network namespaces on one bridge.
#
# The bridge lives in a namespace of its own ($LAB-switch), so nothing of the lab touches the
# network of the machine and two labs may use the same addresses. A host's cable is a veth pair:
# eth0 in the host, a port named after the host in the switch. Hosts are entered with nsenter and
# not with `ip netns exec`, which would hide the control groups by mounting a new /sys.
#
# HAFO_SWITCH=tap, for tests: in place of the bridge a program in user space that also delays, loses,
# doubles and reorders frames; eth0 is then a TAP device of it.
# shellcheck shell=bash

netns() { echo "$LAB-$1"; }
netns_exists() { [ -e "/run/netns/$(netns "$1")" ]; }

# in_host HOST COMMAND...: run in its network, and nothing else changed.
in_host() {
    local host=$1
    shift
    nsenter --net="/run/netns/$(netns "$host")" -- "$@"
}

netns_make() {
    netns_exists "$1" || ip netns add "$(netns "$1")"
    ip -n "$(netns "$1")" link set lo up
}

is_tap() { [ "${HAFO_SWITCH:-bridge}" = tap ]; }
switch_ask() { "$(binary switch)" --ask "$RUN/switch.sock" "$@" >/dev/null; }

tap_switch_up() {
    local tries
    setsid nsenter --net="/run/netns/$(netns switch)" -- "$(binary switch)" --socket "$RUN/switch.sock" \
        --seed "${HAFO_SEED:-1}" >"$RUN/switch.log" 2>&1 </dev/null 9>&- &
    for ((tries = 0; tries < 250; tries++)); do
        [ -S "$RUN/switch.sock" ] && return
        sleep 0.02
    done
    die "the switch does not start: $(cat "$RUN/switch.log")"
}

switch_up() {
    netns_exists switch && return
    netns_make switch
    if is_tap; then
        tap_switch_up
        return
    fi
    ip -n "$(netns switch)" link add name bridge type bridge stp_state 0 forward_delay 0
    ip -n "$(netns switch)" link set bridge up
    # Pairs of ports between which frames are dropped, for cuts that a pulled cable cannot make.
    in_host switch nft -f - <<'NFT'
table bridge lab {
    set cut {
        type ifname . ifname
    }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname @cut drop
    }
}
NFT
}

host_net_up() {
    local host=$1 ns key
    ns=$(netns "$host")
    netns_exists "$host" && return
    netns_make "$host"
    for key in ipv4.ip_forward=0 ipv6.conf.all.forwarding=0 ipv6.conf.default.accept_ra=0 \
        ipv6.conf.default.accept_dad=0; do
        in_host "$host" sysctl -qw "net.$key" 2>/dev/null || true # no IPv6 in some kernels
    done
    if is_tap; then
        switch_ask attach "$host" "/run/netns/$ns"
    else
        ip -n "$(netns switch)" link add name "$host" type veth peer name eth0 netns "$ns"
        ip -n "$(netns switch)" link set "$host" master bridge up
    fi
    # The same after a restart of the host, as a network card's would be.
    ip -n "$ns" link set eth0 address "02:00:0a:4d:00:$(host_number "$host")"
    ip -n "$ns" link set eth0 up
    ip -n "$ns" address add "$(address4 "$host")/24" dev eth0
    ip -n "$ns" address add "$(address6 "$host")/64" dev eth0 nodad 2>/dev/null ||
        note "$host: no IPv6 here"
}

netns_pids() { ip netns pids "$(netns "$1")" 2>/dev/null || true; }

# End every process in the namespace, then the namespace; its veth pair goes with it.
netns_drop() {
    local host=$1 tries pids
    netns_exists "$host" || return 0
    for ((tries = 0; tries < 50; tries++)); do
        pids=$(netns_pids "$host")
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null || true
        sleep 0.02
    done
    if ! is_tap; then
        ip -n "$(netns switch)" link del "$host" 2>/dev/null || true
    elif [ "$host" != switch ]; then
        switch_ask detach "$host" || true # the switch has died: its devices with it
    fi
    ip netns del "$(netns "$host")"
}

drop_frames() {
    if is_tap; then
        switch_ask link "$1" "$2" cut=1
    else
        in_host switch nft add element bridge lab cut "{ \"$1\" . \"$2\" }"
    fi
}

# cut HOST                  pull the cable
# cut HOST from|to OTHER..  drop what HOST sends to, or gets from, the others (all when none named)
cut() {
    local host=$1 way=${2:-} other
    [ $# -lt 2 ] && set -- "$1" ""
    shift 2
    host_number "$host" >/dev/null
    case $way in
        "")
            if is_tap; then
                switch_ask down "$host"
            else
                ip -n "$(netns switch)" link set "$host" down
            fi
            ;;
        from | to)
            [ $# -gt 0 ] || set -- "${HOSTS[@]}"
            for other in "$@"; do
                [ "$other" = "$host" ] && continue
                if [ "$way" = from ]; then
                    drop_frames "$host" "$other"
                else
                    drop_frames "$other" "$host"
                fi
            done
            ;;
        *) die "cut HOST [from|to [OTHER...]]" ;;
    esac
}

# Put the cable of HOST back.
uncut() { ip -n "$(netns switch)" link set "$1" up; }

uncut_all() {
    local host
    if is_tap; then
        switch_ask heal
        return
    fi
    in_host switch nft flush set bridge lab cut
    for host in "${HOSTS[@]}"; do
        netns_exists "$host" && uncut "$host"
    done
    return 0
}
