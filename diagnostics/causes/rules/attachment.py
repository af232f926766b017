"""Why a volume is not attached to its node: it is held elsewhere, the node is full, or nobody works on the attachment.

Clouds word the same refusal in their own ways, so the rules look for who holds what. They must not take a mount's "busy"
for an attachment.
"""

from diagnostics.causes.model import Rule, either

_MACHINE = r"(?:the )?(?:node|instance|vm|virtual machine|server|droplet|linode|host|compute)"

ATTACHMENT = (
    Rule(
        cause="attach-limit-exceeded",
        why="The node holds as many volumes as it, or its machine type, allows.",
        pattern=either(
            r"attachmentlimitexceeded",
            r"exceed max volume count",
            r"max(?:imum)? volume count",
            r"attach(?:ment)? limit",
            r"volumes? limit\b",
            r"too many (?:ebs )?(?:volumes|disks|attachments)",
            r"cannot attach more than",
            r"can only attach \[?\d",
            r"no (?:more |available |free |unused ){1,2}(?:device names?|device slots?|attachment slots?|scsi|lun|pci)\b",
            r"all (?:available |the )?(?:pci slots|device names|slots|luns)\b",
            r"max attachable",
            r"exceeded limit '?max",
            r"disk\w{0,10}limitexceeded",
            r"no devices available",
            r"exceed(?:s|ed)? the (?:max(?:imum)?|limit)[^;]{0,40}(?:disk|volume|attach)",
        ),
        also=("volume", "attach", "disk", "device", "lun"),
        never=("quota", "snapshot"),
    ),
    Rule(
        cause="attach-limit-exceeded",
        why="The node holds as many volumes as it, or its machine type, allows.",
        pattern=either(
            r"\bmax(?:imum)? (?:allowed )?number of (?:\w{1,12} ){0,2}(?:disks?|volumes?|attachments|devices)\b"
        ),
        also=("allowed", "attach", "exceed", "reach"),
        never=("quota", "snapshot"),
    ),
    Rule(
        cause="attach-limit-exceeded",
        why="The cloud accepted the attachment but never finished it, as it does when the node has no slot left.",
        likely=True,
        says=("expected device to be attached but was attaching",),
    ),
    Rule(
        cause="multi-attach",
        why="The volume is held by another node or another pod, and may be used by one only.",
        says=(
            "multi-attach error",
            "already exclusively attached",
            "readwriteoncepod access mode and is already in use",
            "readwriteoncepod access mode already in-use",
            "resource_in_use_by_another_resource",
            "volumeinuse",
            "acquirediskleasefailed",
            "diskblobalreadyinusebyanotherdisk",
        ),
    ),
    Rule(
        cause="multi-attach",
        why="The driver or the cloud says that another machine holds the volume.",
        pattern=either(
            rf"(?:already|currently|still|is|been) (?:attached|published|mounted) (?:to|on|at|by) (?:a different|another|other|an?) {_MACHINE}",
            rf"(?:already|currently|still) (?:attached|published|mounted) (?:to|on|at) {_MACHINE}",
            rf"in use by (?:another|a different|other) {_MACHINE}",
            r"disk \S{1,400} is already being used by",
            r"is already in use by another",
            r"already attached elsewhere",
            r"already (?:attached|mounted|used|in use) (?:by|to) (?:an?other |a )?pod",
            r"volume is in \"?in-use\"? state",
            r"using persistentvolumeclaim with the same name and readwriteoncepod",
            r"volume \S{0,200} ?status[^;]{0,60} '?in-use",
        ),
        about="volume",
        never=("sandbox", "port ", "address already in use"),
    ),
    Rule(
        cause="multi-attach",
        why="The volume is for one node, and the storage has given it to another already.",
        about="volume",
        pattern=either(
            r"already (?:has|have) other (?:clients|hosts|nodes|initiators|attachments)",
            r"already (?:published|exported|mapped) (?:to|on|for) (?:a different|another|other) (?:node|host|client|initiator)",
        ),
    ),
    Rule(
        cause="multi-attach",
        why="The cloud still detaches the disk from another machine.",
        likely=True,
        says=("attachdiskwhilebeingdetached", "disk is currently being detached", "failed to lock the file"),
    ),
    Rule(
        cause="attach-stuck",
        why="Nothing completed the VolumeAttachment in time: look at the driver's attacher and its permissions.",
        pattern=either(
            r"timed out waiting for external-attacher",
            r"attach(?:ment)? time ?out for volume",
            r"(?:timeout|timed out) waiting for volume ?attachment",
            r"volume ?attachment (?:\S{1,253} )?is being deleted",
            r"timeout expired waiting for volume to attach",
        ),
    ),
    Rule(
        cause="attach-stuck",
        why="The node's status does not list the volume as attached, so the attach controller has not finished.",
        says=(
            "volume not attached according to node status",
            "not yet attached according to node status",
            "has not been added to the list of volumesinuse",
        ),
    ),
    Rule(
        cause="attach-stuck",
        why="A VolumeAttachment could not be read or written: permission, or the object is gone.",
        says=("volumeattachment", "volume attachment"),
        also=("forbidden", "not found", "failed", "cannot", "could not", "no relationship found", "error"),
    ),
    Rule(
        cause="attach-stuck",
        why="The driver's attacher could not mark the volume or its attachment as its own: look at its permissions.",
        pattern=either(
            r"could not (?:add|remove) (?:persistentvolume|volumeattachment) finalizer",
            r"failed to (?:add|remove) finalizer[^;]{0,100}(?:persistentvolume|volumeattachment)",
        ),
    ),
    Rule(
        cause="attach-stuck",
        why="The storage behind the driver did not bring the volume to this node in time.",
        likely=True,
        operation=("attachvolume", "mountvolume.waitforattach"),
        pattern=either(
            r"(?:timeout|timed out|timeout expired|error) waiting for (?:attach|volume state|device|disk|volume)",
            r"(?:could not|failed to) find (?:attached|the attached)",
            r"is not ready for workloads",
            r"(?:attachvolume|waitforattach)[^;]{0,400}timed out waiting for the condition",
        ),
    ),
)
