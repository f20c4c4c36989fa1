# deploy/lib/build.sh - a build directory, made or brought up to date.
# shellcheck shell=bash

# build DIR LOG TARGET... -- MESON_OPTION...
build() {
    local dir=$1 log=$2 targets=()
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        targets+=("$1")
        shift
    done
    shift
    if [ ! -e "$dir/build.ninja" ] || ! grep -qsF "\"source\": \"$ROOT\"" "$dir/meson-info/meson-info.json"; then
        rm -rf "$dir"
        (cd "$ROOT" && meson setup "$dir" "$@") >"$log" 2>&1 || build_failed "$log"
    fi
    ninja -C "$dir" "${targets[@]}" >"$log" 2>&1 || build_failed "$log"
}

build_failed() {
    grep -E -A 12 'error|FAILED|ERROR' "$1" | tail -n 40 >&2 || tail -n 40 "$1" >&2
    die "the build failed; all of it is in $1"
}
