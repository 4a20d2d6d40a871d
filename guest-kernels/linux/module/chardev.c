// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: /dev/vos/NAME. Clients take a slice and map it; the service maps the
 * whole region. Numbers and layouts are in vos_abi.h.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vos.h"

struct vos_file {
	struct vos_device *dev;
	struct mutex lock; /* over taking a slice */
	u32 slice;	   /* 0: none taken */
};

static bool vos_is_client(struct vos_device *dev)
{
	return dev->role == VOS_PEER_CLIENT;
}

static int vos_open(struct inode *inode, struct file *file)
{
	struct vos_device *dev = container_of(file->private_data,
					      struct vos_device, misc);
	struct vos_file *vf;

	if (!vos_is_client(dev)) {
		if (!capable(CAP_SYS_ADMIN))
			return -EPERM;
		if (atomic_cmpxchg(&dev->service_open, 0, 1))
			return -EBUSY;
	}
	vf = kzalloc(sizeof(*vf), GFP_KERNEL);
	if (!vf) {
		atomic_set(&dev->service_open, 0);
		return -ENOMEM;
	}
	mutex_init(&vf->lock);
	vf->dev = dev;
	vos_device_get(dev);
	file->private_data = vf;
	return nonseekable_open(inode, file);
}

/* The daemon is gone: nobody serves; the client must not have to guess. */
static void vos_service_left(struct vos_device *dev)
{
	struct vos_side_page *page = vos_own_page(dev);

	if (!READ_ONCE(dev->gone)) {
		smp_store_release(&page->state, VOS_SIDE_DRIVER);
		/* The next one may be ready before the client has looked. */
		smp_store_release(&page->lives, READ_ONCE(page->lives) + 1);
		vos_ring(dev, VOS_PEER_CLIENT);
		vos_ring(dev, VOS_PEER_HOST);
	}
	atomic_set(&dev->service_open, 0);
}

/* The mappings hold the file: they are gone too. */
static int vos_release(struct inode *inode, struct file *file)
{
	struct vos_file *vf = file->private_data;

	if (!vos_is_client(vf->dev))
		vos_service_left(vf->dev);
	else if (vf->slice)
		vos_slice_give_back(vf->dev, vf->slice);
	vos_device_put(vf->dev);
	kfree(vf);
	return 0;
}

static int vos_map_range(struct vos_device *dev, struct vm_area_struct *vma,
			 u64 offset, u64 bytes)
{
	/* A fork's child starts without: the slice is its parent's. */
	vma->vm_flags |= VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP;
	vma->vm_flags &= ~VM_MAYEXEC;
	if (vma->vm_end - vma->vm_start > bytes || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start,
			       PHYS_PFN(dev->region_physical + offset),
			       vma->vm_end - vma->vm_start, vma->vm_page_prot);
}

static int vos_map_page_readonly(struct vos_device *dev,
				 struct vm_area_struct *vma, u64 offset)
{
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	vma->vm_flags &= ~VM_MAYWRITE;
	return vos_map_range(dev, vma, offset, VOS_PAGE_BYTES);
}

static int vos_map_slice(struct vos_file *vf, struct vm_area_struct *vma)
{
	const struct vos_geometry *g = &vf->dev->geometry;
	u32 slice = READ_ONCE(vf->slice);

	/* The descriptor may have been inherited or passed on. */
	if (!vos_slice_belongs(vf->dev, slice))
		return -EPERM;
	return vos_map_range(vf->dev, vma, vos_slice_offset(g, slice),
			     g->slice_stride);
}

static int vos_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vos_file *vf = file->private_data;
	struct vos_device *dev = vf->dev;

	if (READ_ONCE(dev->gone))
		return -ENODEV;
	if (!vos_is_client(dev))
		return vma->vm_pgoff ? -EINVAL :
				       vos_map_range(dev, vma, 0,
						     dev->geometry.region_bytes);
	switch ((u64)vma->vm_pgoff << PAGE_SHIFT) {
	case 0:
		return vos_map_slice(vf, vma);
	case VOS_MAP_SERVICE_PAGE:
		return vos_map_page_readonly(dev, vma, VOS_SERVICE_PAGE_OFFSET);
	case VOS_MAP_SUPERBLOCK:
		return vos_map_page_readonly(dev, vma, VOS_SUPERBLOCK_OFFSET);
	}
	return -EINVAL;
}

static long vos_ioc_info(struct vos_file *vf, void __user *arg)
{
	const struct vos_geometry *g = &vf->dev->geometry;
	struct vos_ioc_info info = {
		.role = vf->dev->role,
		.slice = READ_ONCE(vf->slice),
		.slot_count = g->slot_count,
		.slots_offset = g->slots_offset,
		.arena_offset = g->arena_offset,
		.arena_bytes = g->arena_bytes,
		.map_bytes = vos_is_client(vf->dev) ? g->slice_stride :
						      g->region_bytes,
		.carries = g->carries,
	};

	if (info.slice)
		info.generation = vf->dev->slices[info.slice].generation;
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long vos_ioc_take_slice(struct vos_file *vf, void __user *arg)
{
	u32 slice;
	int ret;

	if (!vos_is_client(vf->dev))
		return -EINVAL;
	mutex_lock(&vf->lock);
	ret = vf->slice ? -EALREADY : vos_slice_take(vf->dev, &slice);
	if (!ret)
		WRITE_ONCE(vf->slice, slice);
	mutex_unlock(&vf->lock);
	return ret ?: vos_ioc_info(vf, arg);
}

/* A client without a slice has nothing to ring for. */
static long vos_ioc_doorbell(struct vos_file *vf, unsigned long peer)
{
	if (vos_is_client(vf->dev)) {
		if (peer != VOS_PEER_SERVICE ||
		    !vos_slice_belongs(vf->dev, READ_ONCE(vf->slice)))
			return -EPERM;
	} else if (peer > U16_MAX) {
		return -EINVAL;
	}
	vos_ring(vf->dev, peer);
	return 0;
}

static long vos_timeout_jiffies(s32 milliseconds)
{
	return milliseconds < 0 ? MAX_SCHEDULE_TIMEOUT :
				  msecs_to_jiffies(milliseconds);
}

static long vos_wait_result(long left)
{
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ETIMEDOUT;
}

/* The slice's count of completions, once it is another than @wait says. */
static long vos_wait_any(struct vos_device *dev, struct vos_slice *slice,
			 const struct vos_ioc_wait *wait)
{
	u32 epoch = atomic_read(&dev->epoch);
	u32 count;
	bool lost = false;
	long left = wait_event_interruptible_timeout(
		slice->waiters,
		(count = atomic_read(&slice->completions) & INT_MAX) !=
				wait->state ||
			(lost = !READ_ONCE(dev->up) ||
				atomic_read(&dev->epoch) != epoch),
		vos_timeout_jiffies(wait->timeout_ms));

	if (lost)
		return -ENOTCONN;
	return left > 0 ? count : vos_wait_result(left);
}

static long vos_wait_slot(struct vos_file *vf, const struct vos_ioc_wait *wait)
{
	struct vos_device *dev = vf->dev;
	u32 slice = READ_ONCE(vf->slice);
	u32 epoch = atomic_read(&dev->epoch);
	struct vos_slot *slot;
	bool any = wait->slot == VOS_WAIT_ANY;
	bool lost = false;
	long left;

	if (!slice || (!any && wait->slot >= dev->geometry.slot_count))
		return -EINVAL;
	if (!vos_slice_belongs(dev, slice))
		return -EPERM;
	if (any)
		return vos_wait_any(dev, &dev->slices[slice], wait);
	slot = vos_slot(dev, slice, wait->slot);
	left = wait_event_interruptible_timeout(
		dev->slices[slice].waiters,
		smp_load_acquire(&slot->state) != wait->state ||
			(lost = !READ_ONCE(dev->up) ||
				atomic_read(&dev->epoch) != epoch),
		vos_timeout_jiffies(wait->timeout_ms));
	return lost ? -ENOTCONN : vos_wait_result(left);
}

static long vos_wait_doorbell(struct vos_device *dev,
			      const struct vos_ioc_wait *wait)
{
	int count = 0;
	long left = wait_event_interruptible_timeout(
		dev->doorbell_waiters,
		(count = atomic_xchg(&dev->doorbells_pending, 0)) != 0 ||
			READ_ONCE(dev->gone),
		vos_timeout_jiffies(wait->timeout_ms));

	if (count)
		return count & INT_MAX;
	return READ_ONCE(dev->gone) ? -ENODEV : vos_wait_result(left);
}

static long vos_ioc_wait(struct vos_file *vf, void __user *arg)
{
	struct vos_ioc_wait wait;

	if (copy_from_user(&wait, arg, sizeof(wait)))
		return -EFAULT;
	if (vos_is_client(vf->dev))
		return vos_wait_slot(vf, &wait);
	return vos_wait_doorbell(vf->dev, &wait);
}

static long vos_ioc_counters(struct vos_device *dev, void __user *arg)
{
	u64 fast = 0, fallback = 0;
	struct vos_ioc_counters counters;

	if (vos_is_client(dev))
		vos_slices_count(dev, &fast, &fallback);
	counters.kernel_calls = atomic64_read(&dev->kernel_calls);
	counters.fast_calls = fast;
	counters.fallback_calls = fallback;
	counters.doorbells = atomic64_read(&dev->doorbells);
	counters.interrupts = atomic64_read(&dev->interrupts);
	return copy_to_user(arg, &counters, sizeof(counters)) ? -EFAULT : 0;
}

static long vos_ioctl(struct file *file, unsigned int command,
		      unsigned long argument)
{
	struct vos_file *vf = file->private_data;
	void __user *arg = (void __user *)argument;

	if (READ_ONCE(vf->dev->gone))
		return -ENODEV;
	switch (command) {
	case VOS_IOC_INFO:
		return vos_ioc_info(vf, arg);
	case VOS_IOC_TAKE_SLICE:
		return vos_ioc_take_slice(vf, arg);
	case VOS_IOC_DOORBELL:
		return vos_ioc_doorbell(vf, argument);
	case VOS_IOC_WAIT:
		return vos_ioc_wait(vf, arg);
	case VOS_IOC_COUNTERS:
		return vos_ioc_counters(vf->dev, arg);
	case VOS_IOC_WATCHED:
		return vos_is_client(vf->dev) ? vos_notify_ask(argument) :
						-EINVAL;
	}
	return -ENOTTY;
}

/* Service side: readable while there are doorbells not yet waited for. */
static __poll_t vos_poll(struct file *file, poll_table *wait)
{
	struct vos_file *vf = file->private_data;

	if (vos_is_client(vf->dev))
		return EPOLLERR;
	poll_wait(file, &vf->dev->doorbell_waiters, wait);
	if (READ_ONCE(vf->dev->gone))
		return EPOLLHUP;
	return atomic_read(&vf->dev->doorbells_pending) ?
		       EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations vos_file_operations = {
	.owner = THIS_MODULE,
	.open = vos_open,
	.release = vos_release,
	.mmap = vos_mmap,
	.unlocked_ioctl = vos_ioctl,
	.poll = vos_poll,
	.llseek = no_llseek,
};

int vos_chardev_add(struct vos_device *dev)
{
	bool for_all = vos_is_client(dev) &&
		       dev->geometry.carries &
			       (VOS_CARRIES_SOCKETS | VOS_CARRIES_FILES);
	int ret;

	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->misc_name;
	dev->misc.nodename = dev->node_name;
	dev->misc.fops = &vos_file_operations;
	dev->misc.mode = for_all ? 0666 : 0600;
	dev->misc.parent = &dev->pci->dev;
	ret = misc_register(&dev->misc);
	dev->registered = !ret;
	return ret;
}

void vos_chardev_remove(struct vos_device *dev)
{
	if (dev->registered)
		misc_deregister(&dev->misc);
}
