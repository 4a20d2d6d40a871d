// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: files of /proc/net that show the service's network in place of this
 * kernel's: netstat, lsof, ifconfig, route and the like read them. The kernel lets
 * nobody see an entry, so they are removed and made anew; those that make them for
 * a new namespace make them again when the module goes. Other namespaces have
 * their own. What cannot be restored is not taken.
 */
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "sockets.h"

#define VOS_TABLE_BYTES_MAX (4 << 20)
#define VOS_TABLES_OF_ONE_MAX 4

/* Files that one function of the kernel makes. */
struct vos_tables {
	const char *maker;
	const char *names[VOS_TABLES_OF_ONE_MAX];
	bool of_sockets; /* lines with an owner and an inode number */
	int (*make)(struct net *net);
	bool taken[VOS_TABLES_OF_ONE_MAX];
};

/* net/ipv4, net/ipv6, net/core/net-procfs.c. The far end shows no more than these. */
static struct vos_tables vos_tables[] = {
	{ "tcp4_proc_init_net", { "tcp" }, true },
	{ "tcp6_proc_init", { "tcp6" }, true },
	{ "udp4_proc_init_net", { "udp" }, true },
	{ "udp6_proc_init", { "udp6" }, true },
	{ "raw_init_net", { "raw" }, true },
	{ "raw6_init_net", { "raw6" }, true },
	{ "fib_proc_init", { "route", "fib_trie", "fib_triestat" } },
	{ "arp_net_init", { "arp" } },
	{ "if6_proc_net_init", { "if_inet6" } },
	{ "ip_proc_init_net", { "snmp", "netstat", "sockstat" } },
	{ "dev_proc_net_init", { "dev", "softnet_stat", "ptype", "wireless" } },
};

/* A file's text, as it was when the file was opened. */
struct vos_text {
	struct vos_device *dev;
	bool of_sockets;
	size_t length;
	size_t room;
	char *bytes;
};

static void vos_text_free(struct vos_text *text)
{
	kvfree(text->bytes);
	vos_device_put(text->dev);
	kfree(text);
}

static int vos_text_grow(struct vos_text *text)
{
	size_t room = text->room ? text->room * 2 : PAGE_SIZE;
	char *bytes = kvmalloc(room, GFP_KERNEL_ACCOUNT);

	if (!bytes)
		return -ENOMEM;
	if (text->length)
		memcpy(bytes, text->bytes, text->length);
	kvfree(text->bytes);
	text->bytes = bytes;
	text->room = room;
	return 0;
}

/* One part of the text: its bytes, 0 at the end. */
static s64 vos_text_part(struct vos_text *text, const char *name, u32 epoch)
{
	struct vos_ask ask = { .call = VOS_CALL_NET_TABLE,
			       .argument = { text->length },
			       .length = strlen(name) };
	struct vos_request request;
	u32 reply;
	s64 ret = vos_request_get(&request, text->dev, epoch);

	if (ret)
		return ret;
	ask.capacity = min_t(size_t, text->room - text->length, request.room);
	memcpy(request.buffer, name, ask.length);
	ret = vos_request_call(&request, &ask, &reply);
	if (ret >= 0) {
		memcpy(text->bytes + text->length, request.buffer, reply);
		text->length += reply;
		ret = reply;
	}
	vos_request_put(&request);
	return ret;
}

static int vos_text_read(struct vos_text *text, const char *name)
{
	u32 epoch = atomic_read(&text->dev->epoch);
	s64 ret;

	do {
		ret = text->length == text->room ? vos_text_grow(text) : 0;
		if (!ret)
			ret = vos_text_part(text, name, epoch);
	} while (ret > 0 && text->length < VOS_TABLE_BYTES_MAX);
	if (ret == -ENOTCONN || ret == -EIO)
		return -ENETDOWN;
	return min_t(s64, ret, 0);
}

/* Where the @count'th word of the line begins, or its end. */
static size_t vos_word_start(const char *line, size_t length, int count)
{
	size_t i = 0;

	for (;; count--) {
		while (i < length && line[i] == ' ')
			i++;
		if (!count)
			return i;
		while (i < length && line[i] != ' ')
			i++;
	}
}

/* The numbers of words in a line of sockets; the head line has them as well. */
#define VOS_WORD_USER 7
#define VOS_WORD_INODE 9

/* As get_tcp4_sock() and the like print it, with this kernel's user and inode. */
static void vos_show_socket(struct seq_file *out, struct vos_text *text,
			    const char *line, size_t length)
{
	size_t user = vos_word_start(line, length, VOS_WORD_USER);
	size_t timeout = vos_word_start(line, length, VOS_WORD_USER + 1);
	size_t inode = vos_word_start(line, length, VOS_WORD_INODE);
	size_t rest = vos_word_start(line, length, VOS_WORD_INODE + 1);
	struct vos_owner owner = {};
	unsigned long far, id;
	char word[24];

	strscpy(word, line + inode, min(sizeof(word), rest - inode + 1));
	if (rest == length || kstrtoul(strim(word), 10, &far)) {
		seq_write(out, line, length);
		seq_putc(out, '\n');
		return;
	}
	strscpy(word, line + user, min(sizeof(word), timeout - user + 1));
	if (kstrtoul(strim(word), 10, &id))
		id = 0;
	owner = vos_owner_of(text->dev, far);
	if (uid_valid(owner.user))
		id = from_kuid_munged(seq_user_ns(out), owner.user);
	while (user && line[user - 1] == ' ')
		user--;
	while (length > rest && line[length - 1] == ' ')
		length--;
	seq_write(out, line, user);
	seq_printf(out, " %5lu", id);
	while (timeout && line[timeout - 1] == ' ')
		timeout--;
	seq_write(out, line + timeout, inode - timeout);
	seq_printf(out, "%lu ", owner.inode);
	seq_write(out, line + rest, length - rest);
	seq_putc(out, '\n');
}

static int vos_table_show(struct seq_file *out, void *unused)
{
	struct vos_text *text = out->private;
	size_t at, next;

	if (!text->of_sockets) {
		seq_write(out, text->bytes, text->length);
		return 0;
	}
	for (at = 0; at < text->length; at = next + 1) {
		const char *end = memchr(text->bytes + at, '\n',
					 text->length - at);

		next = end ? end - text->bytes : text->length;
		vos_show_socket(out, text, text->bytes + at, next - at);
	}
	return 0;
}

static bool vos_table_of_sockets(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_tables); i++)
		if (!strcmp(name, vos_tables[i].names[0]))
			return vos_tables[i].of_sockets;
	return false;
}

/*
 * Differs: the text is that of the moment of opening, and ends at 4 MiB; some files
 * are this kernel's all the same (module/README.md).
 */
static int vos_table_open(struct inode *inode, struct file *file)
{
	const char *name = pde_data(inode);
	struct vos_text *text = kzalloc(sizeof(*text), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!text)
		return -ENOMEM;
	if (file->f_mode & FMODE_WRITE) { /* as the kernel's own */
		kfree(text);
		return -EACCES;
	}
	text->dev = vos_family_device();
	if (!text->dev) {
		kfree(text);
		return -ENETDOWN;
	}
	text->of_sockets = vos_table_of_sockets(name);
	if (text->of_sockets)
		vos_owners_learn(text->dev);
	ret = vos_text_read(text, name);
	if (!ret)
		ret = single_open_size(file, vos_table_show, text,
				       PAGE_ALIGN(text->length + 1));
	if (ret)
		vos_text_free(text);
	return ret;
}

static int vos_table_release(struct inode *inode, struct file *file)
{
	struct seq_file *out = file->private_data;

	vos_text_free(out->private);
	return single_release(inode, file);
}

static const struct proc_ops vos_table_ops = {
	.proc_open = vos_table_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = vos_table_release,
};

static void vos_tables_take_one(struct vos_tables *tables)
{
	int i;

	tables->make = vos_find_function(tables->maker);
	if (!tables->make)
		return;
	for (i = 0; i < VOS_TABLES_OF_ONE_MAX && tables->names[i]; i++) {
		/* Quiet where there is none: IPv6 may be off. */
		if (remove_proc_subtree(tables->names[i], init_net.proc_net))
			continue;
		tables->taken[i] = true;
		if (!proc_create_data(tables->names[i], 0444, init_net.proc_net,
				      &vos_table_ops, (void *)tables->names[i]))
			pr_warn("vos: no /proc/net/%s\n", tables->names[i]);
	}
}

void vos_tables_take(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_tables); i++)
		vos_tables_take_one(&vos_tables[i]);
}

void vos_tables_give_back(void)
{
	int i, k;

	for (i = 0; i < ARRAY_SIZE(vos_tables); i++) {
		struct vos_tables *tables = &vos_tables[i];
		bool any = false;

		for (k = 0; k < VOS_TABLES_OF_ONE_MAX; k++) {
			if (!tables->taken[k])
				continue;
			remove_proc_subtree(tables->names[k], init_net.proc_net);
			any = true;
		}
		if (any && tables->make(&init_net))
			pr_warn("vos: %s did not make its files\n",
				tables->maker);
	}
}
