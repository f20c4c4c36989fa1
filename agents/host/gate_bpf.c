#include "agents/host/gate_bpf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "agents/host/gate.h"
#include "agents/host/nl.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

static_assert(HA_GATE_MAP_PORTS == HA_GATE_PORTS_MAX, "one limit");
static_assert(HA_GATE_MAP_EXEMPTS == HA_GATE_EXEMPT_MAX, "one limit");
static_assert(sizeof(ino_t) == sizeof(uint64_t), "a cgroup's id is its inode number");

static int failed(struct ha_err *err, const char *what)
{
    int error = errno;

    return ha_err_set(err, ha_nl_code(-error), "bpf gate: %s: %s", what, strerror(error));
}

uint64_t ha_netns_cookie(void)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0)
        cookie = 0;
    (void)close(fd); /* nothing was written */
    return cookie;
}

void ha_bpf_init(struct ha_bpf *bpf)
{
    *bpf = (struct ha_bpf){.deadlines = -1, .exempts = -1, .meta = -1, .prog = -1, .link = -1};
}

void ha_bpf_close(struct ha_bpf *bpf)
{
    const int fds[] = {bpf->deadlines, bpf->exempts, bpf->meta, bpf->prog, bpf->link};

    for (size_t i = 0; i < HA_ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]); /* what is pinned stays */
    ha_bpf_init(bpf);
}

static int open_pin(const struct ha_bpf *bpf, const char *name, int *ret_fd)
{
    char path[PATH_MAX];

    (void)ha_text_format(path, sizeof(path), "%s/%s", bpf->pin_dir, name); /* fits by its type */
    *ret_fd = bpf_obj_get(path);
    return *ret_fd >= 0 ? 0 : -1;
}

static int read_meta(struct ha_bpf *bpf, struct ha_err *err)
{
    struct ha_gate_meta meta;
    const uint32_t first = 0;

    if (bpf_map_lookup_elem(bpf->meta, &first, &meta) != 0)
        return failed(err, "read meta");
    if (meta.version != HA_GATE_MAP_VERSION || meta.instance == HA_INSTANCE_NONE)
        return ha_err_set(err, HA_ESTALE,
                          "bpf gate in %s is of version %u, not %d: unload it first", bpf->pin_dir,
                          meta.version, HA_GATE_MAP_VERSION);
    if (meta.netns_cookie != ha_netns_cookie())
        return ha_err_set(err, HA_EBUSY, "bpf gate in %s is of another network namespace",
                          bpf->pin_dir);
    bpf->instance = meta.instance;
    memcpy(bpf->cgroup, meta.cgroup, sizeof(bpf->cgroup));
    bpf->cgroup[sizeof(bpf->cgroup) - 1] = '\0';
    return HA_OK;
}

static int open_pins(struct ha_bpf *bpf, struct ha_err *err)
{
    int code;

    if (open_pin(bpf, "meta", &bpf->meta) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return ha_err_set(err, HA_ENOENT, "no bpf gate in %s", bpf->pin_dir);
        return failed(err, "open meta");
    }
    code = read_meta(bpf, err);
    if (code != HA_OK)
        return code;
    if (open_pin(bpf, "deadlines", &bpf->deadlines) != 0)
        return failed(err, "open deadlines");
    if (open_pin(bpf, "exempts", &bpf->exempts) != 0)
        return failed(err, "open exempts");
    if (open_pin(bpf, "prog", &bpf->prog) != 0)
        return failed(err, "open prog");
    /* Without a link the program may be attached again: ha_bpf_check. */
    (void)open_pin(bpf, "link", &bpf->link);
    return HA_OK;
}

int ha_bpf_open(struct ha_bpf *bpf, const char *pin_dir, struct ha_err *err)
{
    int code;

    ha_bpf_init(bpf);
    if (ha_text_copy(bpf->pin_dir, sizeof(bpf->pin_dir), pin_dir) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "pin_dir is too long");
    code = open_pins(bpf, err);
    if (code != HA_OK)
        ha_bpf_close(bpf);
    return code;
}

int ha_bpf_guard(struct ha_bpf *bpf, uint16_t port, bool *ret_added, struct ha_err *err)
{
    const uint64_t closed = 0;

    *ret_added = bpf_map_update_elem(bpf->deadlines, &port, &closed, BPF_NOEXIST) == 0;
    if (!*ret_added && errno != EEXIST)
        return failed(err, "guard a port");
    return HA_OK;
}

int ha_bpf_unguard(struct ha_bpf *bpf, uint16_t port, struct ha_err *err)
{
    if (bpf_map_delete_elem(bpf->deadlines, &port) != 0)
        return failed(err, "unguard a port");
    return HA_OK;
}

int ha_bpf_set(struct ha_bpf *bpf, uint16_t port, uint64_t deadline_ns, struct ha_err *err)
{
    if (bpf_map_update_elem(bpf->deadlines, &port, &deadline_ns, BPF_EXIST) != 0)
        return failed(err, "set a deadline");
    return HA_OK;
}

int ha_bpf_get(struct ha_bpf *bpf, uint16_t port, uint64_t *ret_deadline_ns, struct ha_err *err)
{
    if (bpf_map_lookup_elem(bpf->deadlines, &port, ret_deadline_ns) != 0)
        return failed(err, "read a deadline");
    return HA_OK;
}

int ha_bpf_ports(struct ha_bpf *bpf, uint16_t *ports, size_t size_max, size_t *ret_count,
                 struct ha_err *err)
{
    uint16_t key;
    bool first = true;

    *ret_count = 0;
    while (*ret_count < size_max) {
        if (bpf_map_get_next_key(bpf->deadlines, first ? NULL : &key, &key) != 0)
            return errno == ENOENT ? HA_OK : failed(err, "list ports");
        ports[(*ret_count)++] = key;
        first = false;
    }
    return HA_OK;
}

int ha_bpf_exempt(struct ha_bpf *bpf, const struct ha_gate_tuple *tuple, uint64_t deadline_ns,
                  struct ha_err *err)
{
    if (bpf_map_update_elem(bpf->exempts, tuple, &deadline_ns, BPF_ANY) != 0)
        return errno == E2BIG ? ha_err_set(err, HA_EFULL, "bpf gate: too many exemptions")
                              : failed(err, "exempt a connection");
    return HA_OK;
}

int ha_bpf_exempt_clear(struct ha_bpf *bpf, uint16_t port, struct ha_err *err)
{
    struct ha_gate_tuple keys[HA_GATE_MAP_EXEMPTS];
    size_t count = 0;

    /* Listed first: deleting under the walk would start it over. */
    while (count < HA_ARRAY_LEN(keys)) {
        if (bpf_map_get_next_key(bpf->exempts, count == 0 ? NULL : &keys[count - 1],
                                 &keys[count]) != 0) {
            if (errno != ENOENT)
                return failed(err, "list exemptions");
            break;
        }
        count++;
    }
    for (size_t i = 0; i < count; i++)
        if (keys[i].local_port == port && bpf_map_delete_elem(bpf->exempts, &keys[i]) != 0 &&
            errno != ENOENT)
            return failed(err, "end an exemption");
    return HA_OK;
}

/* The cgroup a link is attached to; 0: none any more. */
static uint64_t link_cgroup(int link)
{
    struct bpf_link_info info = {0};
    uint32_t size = sizeof(info);

    if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size) != 0 ||
        info.type != BPF_LINK_TYPE_CGROUP)
        return 0;
    return info.cgroup.cgroup_id;
}

/* Over the old pin, in one step: whoever dies here leaves one of the two attached. */
static int pin_link(const struct ha_bpf *bpf, int link)
{
    char path[PATH_MAX], fresh[PATH_MAX];

    (void)ha_text_format(path, sizeof(path), "%s/link", bpf->pin_dir);       /* fits by its type */
    (void)ha_text_format(fresh, sizeof(fresh), "%s/link_new", bpf->pin_dir); /* fits by its type */
    (void)unlink(fresh); /* of an attempt that did not end */
    if (bpf_obj_pin(link, fresh) != 0)
        return -1;
    return rename(fresh, path);
}

int ha_bpf_attach(struct ha_bpf *bpf, struct ha_err *err)
{
    int cgroup, link;

    cgroup = open(bpf->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0)
        return ha_err_set(err, HA_EINVAL, "bpf gate: no cgroup %s: %s", bpf->cgroup,
                          strerror(errno));
    link = bpf_link_create(bpf->prog, cgroup, BPF_CGROUP_INET_EGRESS, NULL);
    if (link < 0) {
        int code =
            errno == EPERM && geteuid() == 0
                ? ha_err_set(err, HA_EBUSY, "cgroup %s refuses one more program", bpf->cgroup)
                : failed(err, "attach");

        (void)close(cgroup); /* read only */
        return code;
    }
    (void)close(cgroup); /* read only */
    if (pin_link(bpf, link) != 0) {
        int code = failed(err, "pin link");

        (void)close(link); /* detaches */
        return code;
    }
    if (bpf->link >= 0)
        (void)close(bpf->link); /* detaches, unless it is pinned elsewhere */
    bpf->link = link;
    return HA_OK;
}

int ha_bpf_look(const struct ha_bpf *bpf, struct ha_err *err)
{
    char path[PATH_MAX];
    struct stat cgroup, pin;

    /* No cgroup, no database in it: nothing to gate until it is made again. */
    if (stat(bpf->cgroup, &cgroup) != 0)
        return ha_err_set(err, HA_ENOENT, "bpf gate: no cgroup %s: %s", bpf->cgroup,
                          strerror(errno));
    (void)ha_text_format(path, sizeof(path), "%s/link", bpf->pin_dir); /* fits by its type */
    if (link_cgroup(bpf->link) == (uint64_t)cgroup.st_ino && stat(path, &pin) == 0)
        return HA_OK;
    return ha_err_set(err, HA_ESTALE, "bpf gate: not attached to %s", bpf->cgroup);
}

int ha_bpf_check(struct ha_bpf *bpf, bool *ret_fixed, struct ha_err *err)
{
    int code = ha_bpf_look(bpf, err);

    *ret_fixed = false;
    if (code != HA_ESTALE)
        return code;
    *ret_fixed = true;
    return ha_bpf_attach(bpf, err);
}
