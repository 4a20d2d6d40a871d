// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: PCI side. Finds ivshmem devices (docs/specs/ivshmem-spec of QEMU), maps
 * their registers and region, and hands them to the other files.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "vos.h"

#define VOS_PCI_VENDOR 0x1af4
#define VOS_PCI_DEVICE 0x1110
#define VOS_PCI_REVISION 1

#define VOS_BAR_REGISTERS 0
#define VOS_BAR_REGION 2

/* ivshmem registers, offsets in BAR 0. */
#define VOS_REGISTER_POSITION 0x08
#define VOS_REGISTER_DOORBELL 0x0c
#define VOS_REGISTERS_BYTES 0x10

/* Late closes under way at a time: the service's answers are what they wait for. */
#define VOS_CLOSES_MAX 16

struct workqueue_struct *vos_workqueue;
struct workqueue_struct *vos_close_workqueue;

static void vos_device_release(struct kref *refs)
{
	struct vos_device *dev = container_of(refs, struct vos_device, refs);

	/* Callers that outlived the device may have queued some since it went. */
	cancel_work_sync(&dev->reclaim);
	cancel_work_sync(&dev->drain);
	cancel_work_sync(&dev->wake_all);
	cancel_delayed_work_sync(&dev->watch);
	vos_slices_free(dev);
	xa_destroy(&dev->sockets);
	if (dev->region)
		memunmap(dev->region);
	if (dev->registers)
		iounmap(dev->registers);
	pci_dev_put(dev->pci);
	kfree(dev);
}

void vos_device_get(struct vos_device *dev)
{
	kref_get(&dev->refs);
}

/* May sleep when it is the last reference. */
void vos_device_put(struct vos_device *dev)
{
	kref_put(&dev->refs, vos_device_release);
}

/* Any context. */
void vos_ring(struct vos_device *dev, u32 peer)
{
	if (READ_ONCE(dev->gone))
		return;
	atomic64_inc(&dev->doorbells);
	writel(peer << 16 | VOS_VECTOR_DOORBELL,
	       dev->registers + VOS_REGISTER_DOORBELL);
}

static struct vos_device *vos_device_new(struct pci_dev *pci)
{
	struct vos_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	kref_init(&dev->refs);
	dev->pci = pci_dev_get(pci);
	mutex_init(&dev->state_lock);
	mutex_init(&dev->slices_lock);
	init_waitqueue_head(&dev->doorbell_waiters);
	xa_init_flags(&dev->sockets, XA_FLAGS_ALLOC1);
	vos_calls_init(dev);
	vos_events_init(dev);
	vos_watch_init(dev);
	return dev;
}

static int vos_map(struct vos_device *dev)
{
	struct pci_dev *pci = dev->pci;
	resource_size_t bytes = pci_resource_len(pci, VOS_BAR_REGION);

	if (pci_resource_len(pci, VOS_BAR_REGISTERS) < VOS_REGISTERS_BYTES ||
	    bytes < VOS_SERVICE_PAGE_OFFSET + VOS_PAGE_BYTES) {
		pci_err(pci, "BARs too small: not a vos channel\n");
		return -ENODEV;
	}
	dev->registers = pci_ioremap_bar(pci, VOS_BAR_REGISTERS);
	if (!dev->registers)
		return -ENOMEM;
	dev->region_physical = pci_resource_start(pci, VOS_BAR_REGION);
	/* Shared RAM behind a BAR: cacheable, or every call costs exits. */
	dev->region = memremap(dev->region_physical, bytes, MEMREMAP_WB);
	if (!dev->region)
		return -ENOMEM;
	return vos_geometry_read(dev, bytes);
}

static int vos_read_role(struct vos_device *dev)
{
	dev->role = readl(dev->registers + VOS_REGISTER_POSITION);
	if (dev->role == VOS_PEER_CLIENT || dev->role == VOS_PEER_SERVICE)
		return 0;
	pci_err(dev->pci, "peer id %u is neither client nor service\n",
		dev->role);
	return -ENODEV;
}

static int vos_interrupts_on(struct vos_device *dev)
{
	int ret = pci_alloc_irq_vectors(dev->pci, 1, 1, PCI_IRQ_MSIX);

	if (ret < 0) {
		pci_err(dev->pci, "no MSI-X vector: %d\n", ret);
		return ret;
	}
	ret = request_irq(pci_irq_vector(dev->pci, VOS_VECTOR_DOORBELL),
			  vos_interrupt, 0, dev->misc_name, dev);
	if (ret)
		pci_free_irq_vectors(dev->pci);
	return ret;
}

static void vos_interrupts_off(struct vos_device *dev)
{
	free_irq(pci_irq_vector(dev->pci, VOS_VECTOR_DOORBELL), dev);
	pci_free_irq_vectors(dev->pci);
}

static int vos_start(struct vos_device *dev)
{
	int ret = vos_slices_init(dev);

	if (ret)
		return ret;
	vos_side_init(dev);
	ret = vos_interrupts_on(dev);
	if (ret)
		return ret;
	ret = vos_chardev_add(dev);
	if (ret) {
		pci_err(dev->pci, "no /dev/%s: %d\n", dev->node_name, ret);
		vos_interrupts_off(dev);
		return ret;
	}
	if (dev->role == VOS_PEER_CLIENT) {
		vos_watch_now(dev);
		vos_notify_add(dev);
		vos_family_attach(dev);
	}
	return 0;
}

static int vos_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct vos_device *dev;
	int ret;

	if (pci->revision != VOS_PCI_REVISION)
		return -ENODEV;
	ret = pci_enable_device_mem(pci);
	if (ret)
		return ret;
	ret = pci_request_regions(pci, "vos");
	if (ret)
		goto disable;
	pci_set_master(pci);
	dev = vos_device_new(pci);
	if (!dev) {
		ret = -ENOMEM;
		goto release;
	}
	ret = vos_map(dev);
	if (!ret)
		ret = vos_read_role(dev);
	if (!ret)
		ret = vos_start(dev);
	if (ret)
		goto put;
	pci_set_drvdata(pci, dev);
	pci_info(pci, "channel %s: %s, %u slices\n", dev->geometry.name,
		 dev->role == VOS_PEER_CLIENT ? "client" : "service",
		 dev->geometry.slice_count);
	return 0;
put:
	vos_device_gone(dev);
	vos_device_put(dev);
release:
	pci_release_regions(pci);
disable:
	pci_disable_device(pci);
	return ret;
}

static void vos_remove(struct pci_dev *pci)
{
	struct vos_device *dev = pci_get_drvdata(pci);

	vos_family_detach(dev);
	vos_chardev_remove(dev);
	if (dev->role == VOS_PEER_CLIENT)
		vos_notify_drop(dev);
	vos_interrupts_off(dev);
	vos_device_gone(dev);
	pci_release_regions(pci);
	pci_disable_device(pci);
	vos_device_put(dev);
}

static const struct pci_device_id vos_ids[] = {
	{ PCI_DEVICE(VOS_PCI_VENDOR, VOS_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, vos_ids);

static struct pci_driver vos_driver = {
	.name = "vos",
	.id_table = vos_ids,
	.probe = vos_probe,
	.remove = vos_remove,
	/* Processes map the region: it must not be taken from under them. */
	.driver = { .suppress_bind_attrs = true },
};

static int __init vos_init(void)
{
	int ret;

	/* Sleepers of a busy processor must not wait for the busy. */
	vos_workqueue = alloc_workqueue("vos", WQ_HIGHPRI, 0);
	if (!vos_workqueue)
		return -ENOMEM;
	vos_close_workqueue =
		alloc_workqueue("vos-close", WQ_UNBOUND, VOS_CLOSES_MAX);
	if (!vos_close_workqueue) {
		ret = -ENOMEM;
		goto destroy;
	}
	ret = vos_family_init();
	if (ret)
		goto destroy_close;
	vos_notify_place();
	ret = pci_register_driver(&vos_driver);
	if (!ret)
		return 0;
	vos_notify_remove();
	vos_family_exit();
destroy_close:
	destroy_workqueue(vos_close_workqueue);
destroy:
	destroy_workqueue(vos_workqueue);
	return ret;
}

static void __exit vos_exit(void)
{
	pci_unregister_driver(&vos_driver);
	vos_notify_remove();
	vos_family_exit();
	destroy_workqueue(vos_close_workqueue);
	destroy_workqueue(vos_workqueue);
}

module_init(vos_init);
module_exit(vos_exit);
module_param_named(spin_us, vos_spin_us, uint, 0644);
MODULE_PARM_DESC(spin_us, "microseconds to spin for an answer before sleeping, at most");
MODULE_DESCRIPTION("vos: calls between domains over shared memory");
MODULE_LICENSE("GPL");
