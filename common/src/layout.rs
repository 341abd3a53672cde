//! Where the running kernel keeps the fields that the programs read. rustc has no CO-RE: the agent looks
//! them up in the kernel's BTF at start and hands them over as one read-only global.

/// Declares [`Layout`] and the list of BTF members it is filled from, in one place.
macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident = $structure:literal . $member:literal;)*) => {
        /// Byte offsets, in the running kernel.
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub struct Layout {
            $($(#[$doc])* #[doc = concat!("`", $structure, ".", $member, "`")] pub $field: u32,)*
        }

        impl Layout {
            /// Number of fields.
            pub const FIELDS: usize = [$($structure),*].len();

            /// For each field, in order: the structure and the member path. Alternatives for kernels that
            /// renamed a member are separated by `|`; what ends in `?` some kernels do without ([`ABSENT`]).
            pub const MEMBERS: [(&'static str, &'static str); Self::FIELDS] = [$(($structure, $member)),*];

            /// The layout with these offsets, in the order of [`Self::MEMBERS`].
            #[must_use]
            pub const fn from_offsets(offsets: [u32; Self::FIELDS]) -> Self {
                let [$($field),*] = offsets;
                Self { $($field),* }
            }
        }
    };
}

/// The offset of what a kernel does without.
pub const ABSENT: u32 = u32::MAX;

layout! {
    file_path_dentry = "file"."f_path.dentry";
    file_inode = "file"."f_inode";
    file_flags = "file"."f_flags";
    file_mode = "file"."f_mode";
    file_private = "file"."private_data";
    path_dentry = "path"."dentry";
    dentry_parent = "dentry"."d_parent";
    dentry_name = "dentry"."d_name.name";
    dentry_inode = "dentry"."d_inode";
    dentry_super = "dentry"."d_sb";
    dentry_alias = "dentry"."d_u";
    dentry_private = "dentry"."d_fsdata";
    dentry_flags = "dentry"."d_flags";
    dentry_changes = "dentry"."d_seq";
    super_device = "super_block"."s_dev";
    super_magic = "super_block"."s_magic";
    super_root = "super_block"."s_root";
    super_flags = "super_block"."s_flags";
    inode_number = "inode"."i_ino";
    inode_mode = "inode"."i_mode";
    inode_owner = "inode"."i_uid";
    inode_device = "inode"."i_rdev";
    inode_size = "inode"."i_size";
    inode_version = "inode"."i_version";
    inode_writers = "inode"."i_writecount";
    inode_modified = "inode"."i_mtime_sec|i_mtime.tv_sec|__i_mtime.tv_sec";
    inode_modified_fraction = "inode"."i_mtime_nsec|i_mtime.tv_nsec|__i_mtime.tv_nsec";
    inode_changed = "inode"."i_ctime_sec|i_ctime.tv_sec|__i_ctime.tv_sec";
    inode_changed_fraction = "inode"."i_ctime_nsec|i_ctime.tv_nsec|__i_ctime.tv_nsec";
    inode_super = "inode"."i_sb";
    inode_aliases = "inode"."i_dentry.first";
    inode_links = "inode"."__i_nlink|i_nlink";
    attributes_valid = "iattr"."ia_valid";
    socket_state = "socket"."state";
    socket_sk = "socket"."sk";
    sock_protocol = "sock"."sk_protocol";
    sock_remote_address4 = "sock"."__sk_common.skc_daddr";
    sock_remote_address6 = "sock"."__sk_common.skc_v6_daddr";
    sock_remote_port = "sock"."__sk_common.skc_dport";
    sock_family = "sock"."__sk_common.skc_family";
    sock_state = "sock"."__sk_common.skc_state";
    udp_pending = "udp_sock"."pending";
    sock_local_address4 = "sock"."__sk_common.skc_rcv_saddr";
    sock_local_address6 = "sock"."__sk_common.skc_v6_rcv_saddr";
    sock_local_port = "sock"."__sk_common.skc_num";
    sock_network = "sock"."__sk_common.skc_net";
    packet_head = "sk_buff"."head";
    packet_tail = "sk_buff"."tail";
    packet_network = "sk_buff"."network_header";
    packet_transport = "sk_buff"."transport_header";
    packet_sock = "sk_buff"."sk";
    message_name = "msghdr"."msg_name";
    message_name_length = "msghdr"."msg_namelen";
    message_flags = "msghdr"."msg_flags";
    qstr_name = "qstr"."name";
    area_file = "vm_area_struct"."vm_file";
    area_flags = "vm_area_struct"."vm_flags";
    unix_path_dentry = "unix_sock"."path.dentry";
    bprm_p = "linux_binprm"."p";
    bprm_mm = "linux_binprm"."mm";
    bprm_file = "linux_binprm"."file";
    bprm_filename = "linux_binprm"."filename";
    bprm_interpreter = "linux_binprm"."interp";
    bprm_cred = "linux_binprm"."cred";
    cred_real_user = "cred"."uid";
    cred_user = "cred"."euid";
    cred_files_user = "cred"."fsuid";
    cred_group = "cred"."egid";
    cred_real_group = "cred"."gid";
    cred_groups = "cred"."group_info";
    groups_count = "group_info"."ngroups";
    groups_ids = "group_info"."gid";
    cred_permitted = "cred"."cap_permitted";
    bprm_argc = "linux_binprm"."argc";
    mm_pgd = "mm_struct"."pgd";
    mm_program = "mm_struct"."exe_file";
    task_flags = "task_struct"."flags";
    task_ptrace = "task_struct"."ptrace";
    task_thread_node = "task_struct"."thread_node";
    task_tgid = "task_struct"."tgid";
    task_leader = "task_struct"."group_leader";
    task_parent = "task_struct"."real_parent";
    task_mm = "task_struct"."mm";
    task_start = "task_struct"."start_boottime|real_start_time";
    task_cred = "task_struct"."cred";
    task_real_cred = "task_struct"."real_cred";
    task_pid = "task_struct"."thread_pid";
    task_pid_links = "task_struct"."pid_links";
    task_signal = "task_struct"."signal";
    task_files = "task_struct"."files";
    task_place = "task_struct"."fs";
    task_login = "task_struct"."loginuid?";
    task_session = "task_struct"."sessionid?";
    task_status = "task_struct"."thread_info.status";
    task_cgroups = "task_struct"."cgroups";
    signal_pids = "signal_struct"."pids";
    signal_threads = "signal_struct"."thread_head";
    pid_level = "pid"."level";
    pid_numbers = "pid"."numbers";
    pid_tasks = "pid"."tasks";
    tty_session = "tty_struct"."ctrl.session|session";
    files_table = "files_struct"."fdt";
    place_umask = "fs_struct"."umask";
    place_directory = "fs_struct"."pwd.dentry";
    table_length = "fdtable"."max_fds";
    table_files = "fdtable"."fd";
    table_closing = "fdtable"."close_on_exec";
    css_set_default = "css_set"."dfl_cgrp";
    cgroup_node = "cgroup"."kn";
    kernfs_parent = "kernfs_node"."parent|__parent";
    kernfs_name = "kernfs_node"."name";
    regs_ax = "pt_regs"."ax";
    regs_orig_ax = "pt_regs"."orig_ax";
    regs_second = "pt_regs"."si";
    regs_second_compat = "pt_regs"."cx";
    regs_third = "pt_regs"."dx";
    regs_fifth = "pt_regs"."r8";
    regs_fifth_compat = "pt_regs"."di";
    action_handler = "k_sigaction"."sa.sa_handler";
    action_flags = "k_sigaction"."sa.sa_flags";
}

/// Addresses of kernel variables, from `/proc/kallsyms`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Symbols {
    /// `page_offset_base`: start of the direct map of physical memory.
    pub page_offset_base: u64,
    /// `__pgtable_l5_enabled`: whether page tables have five levels.
    pub five_levels: u64,
    /// `init_net`: the host's own network namespace.
    pub init_net: u64,
}
