// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: inotify and fanotify for files that a process reads and writes over its
 * slice. This kernel sees nothing of such a call and tells nobody, so a file that
 * somebody watches is not to be used so: a process asks before it begins
 * (VOS_IOC_WATCHED), and again once the count in its slice's header says that new
 * watches came. Marks of whole mounts are in structures that fs/ keeps to itself.
 */
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/kprobes.h>
#include <linux/rculist.h>

#include "vos.h"

static LIST_HEAD(vos_notify_devices);
static DEFINE_MUTEX(vos_notify_lock); /* over the list's changes */
static atomic_t vos_notify_count; /* how often watches changed, all devices' */

static void vos_notify_tell(struct vos_device *dev, u32 count)
{
	u32 i;

	for (i = 1; i < dev->geometry.slice_count; i++)
		if (READ_ONCE(dev->slices[i].life) == VOS_SLICE_IS_LIVE)
			WRITE_ONCE(vos_slice_header(dev, i)->watch_count, count);
}

/*
 * At the entry of what lets go of a mark, as inotify_add_watch(), fanotify_mark() and
 * F_NOTIFY do at their end: the inode's mask has changed by then, and the caller has
 * not returned.
 */
static int vos_notify_at_change(struct kprobe *probe, struct pt_regs *regs)
{
	u32 count = atomic_inc_return(&vos_notify_count);
	struct vos_device *dev;

	rcu_read_lock();
	list_for_each_entry_rcu(dev, &vos_notify_devices, notified)
		vos_notify_tell(dev, count);
	rcu_read_unlock();
	return 0;
}

static struct kprobe vos_notify_probe = {
	.symbol_name = "fsnotify_put_mark",
	.pre_handler = vos_notify_at_change,
};
static bool vos_notify_placed;

void vos_notify_place(void)
{
	int ret = register_kprobe(&vos_notify_probe);

	vos_notify_placed = ret == 0;
	if (ret)
		pr_warn("vos: no probe at %s (%d): only files that are opened later are told of\n",
			vos_notify_probe.symbol_name, ret);
}

void vos_notify_remove(void)
{
	if (vos_notify_placed)
		unregister_kprobe(&vos_notify_probe);
}

void vos_notify_add(struct vos_device *dev)
{
	mutex_lock(&vos_notify_lock);
	list_add_rcu(&dev->notified, &vos_notify_devices);
	mutex_unlock(&vos_notify_lock);
}

/* Before the region goes. */
void vos_notify_drop(struct vos_device *dev)
{
	mutex_lock(&vos_notify_lock);
	list_del_rcu(&dev->notified);
	mutex_unlock(&vos_notify_lock);
	synchronize_rcu();
}

/* Whether somebody is told when the file is used as its opener may. */
static bool vos_notify_watched(const struct file *file)
{
	struct inode *inode = file_inode(file);
	struct dentry *parent = dget_parent(file->f_path.dentry);
	u32 folder = READ_ONCE(d_inode(parent)->i_fsnotify_mask);
	u32 told = READ_ONCE(inode->i_fsnotify_mask) |
		   READ_ONCE(inode->i_sb->s_fsnotify_mask);
	u32 uses = 0;

	dput(parent);
	if (folder & FS_EVENT_ON_CHILD)
		told |= folder;
	if (file->f_mode & FMODE_READ)
		uses |= FS_ACCESS | FS_ACCESS_PERM;
	if (file->f_mode & FMODE_WRITE)
		uses |= FS_MODIFY;
	return told & uses;
}

/* Of one of the caller's descriptors. */
int vos_notify_ask(unsigned int descriptor)
{
	struct fd f = fdget(descriptor);
	int ret;

	if (!f.file)
		return -EBADF;
	ret = vos_notify_watched(f.file);
	fdput(f);
	return ret;
}
