// SPDX-License-Identifier: Apache-2.0
import CLibvosFuzz
import CVosABI
import FuzzKit

/// The service of one channel.
struct Service {
  let channel: Int32
  let shape: libvos_fuzz_shape
  var generation: UInt32 = 1

  /// A few slots, or all there can be; pieces of 64 bytes and more.
  init(channel: Int) {
    self.channel = Int32(channel)
    let slots = [1, 2, 3, 5, 64][steps.below(5)]
    let slotsOffset = [512, 576][steps.below(2)]
    let piece = min([64, 192, 256, 512, 2048][steps.below(5)], 16384 / slots)
    shape = libvos_fuzz_shape(
      slot_count: UInt32(slots), slots_offset: UInt32(slotsOffset),
      arena_offset: UInt32(slotsOffset + 64 * slots + 64 * steps.below(2)),
      arena_bytes: UInt32(slots * piece + steps.below(2) * min(slots * 32, 16384 - slots * piece)))
  }

  private var piece: UInt32 { shape.arena_bytes / shape.slot_count & ~63 }

  private var posted: [Int32] {
    let slots = libvos_fuzz_posted(channel)
    return (0..<Int32(shape.slot_count)).filter { slots >> UInt64($0) & 1 != 0 }
  }

  mutating func act() {
    switch steps.below(16) {
    case 0...5: answer { reasonable($0) }
    case 6: answer { _ in Int64(bitPattern: steps.interesting()) }
    case 7: answer { slightlyTooMuch($0) }
    case 8: answer { _ in -Int64(steps.below(5000)) }
    case 9: scribbleOnSlot()
    case 10: scribble(at: UInt32(steps.below(Int(shape.arena_offset))))
    case 11: scribbleOnArena()
    case 12: libvos_fuzz_poke_slice(channel, 64, UInt32(steps.below(3)))  // sleeping
    case 13: live()
    case 14: libvos_fuzz_pass_time(steps.interesting())
    default: settle()
    }
  }

  /// Answers one call.
  private func answer(_ result: (vos_slot) -> Int64) {
    let posted = posted
    guard !posted.isEmpty else { return }
    let slot = posted[steps.below(posted.count)]
    reply(to: slot, result(libvos_fuzz_line(channel, slot)))
  }

  private func reply(to slot: Int32, _ result: Int64) {
    let line = libvos_fuzz_line(channel, slot)
    if UInt32(line.call) == VOS_CALL_RECVMSG {
      let head = shape.arena_offset + UInt32(slot) * piece
      let lengths = steps.byte()
      let name = lengths & 1 == 0 ? UInt32(lengths & 0x1f) : UInt32(lengths) * 3
      libvos_fuzz_poke_slice(channel, head, steps.number())
      libvos_fuzz_poke_slice(channel, head + 4, name)
      libvos_fuzz_poke_slice(
        channel, head + 12, UInt32(truncatingIfNeeded: result) &+ (lengths == 0xff ? 1 : 0))
    }
    libvos_fuzz_answer(channel, slot, result, UInt32(truncatingIfNeeded: steps.interesting()))
  }

  /// The most that a call may come back with.
  private func most(_ line: vos_slot) -> Int64 {
    switch UInt32(line.call) {
    case VOS_CALL_READ, VOS_CALL_PREAD64: Int64(line.data_capacity)
    case VOS_CALL_WRITE, VOS_CALL_PWRITE64: Int64(line.data_length)
    case VOS_CALL_SENDMSG: Int64(line.data_length) - headBytes
    case VOS_CALL_RECVMSG: Int64(line.data_capacity) - headBytes
    case VOS_CALL_POLL: 0x1fff
    default: 0
    }
  }
  private let headBytes = Int64(MemoryLayout<vos_message>.size)

  private func reasonable(_ line: vos_slot) -> Int64 {
    let errnos: [Int64] = [-11, -11, -9, -5, -32, -22, -38, -4, -28, -511]
    switch steps.below(8) {
    case 0...3: return most(line)
    case 4: return Int64(steps.below(Int(max(0, min(most(line), 60000))) + 1))
    case 5: return 0
    case 6: return 1
    default: return errnos[steps.below(errnos.count)]
    }
  }

  private func slightlyTooMuch(_ line: vos_slot) -> Int64 {
    most(line) &+ 1 &+ Int64(steps.below(64))
  }

  /// Any word of the slice but those that may be written at no cost.
  private func scribble(at offset: UInt32) {
    libvos_fuzz_harmed()
    libvos_fuzz_poke_slice(channel, offset, UInt32(truncatingIfNeeded: steps.interesting()))
  }

  private func scribbleOnSlot() {
    let slot = shape.slots_offset + 64 * UInt32(steps.below(Int(shape.slot_count)))
    guard steps.byte() & 1 == 0 else { return scribble(at: slot + 4 * UInt32(steps.below(16))) }
    libvos_fuzz_harmed()
    libvos_fuzz_poke_slice(
      channel, slot, UInt32(steps.below(8)) | UInt32(steps.below(4)) << VOS_SLOT_SEQUENCE_SHIFT)
  }

  /// What a reply brings may change until it is taken.
  private func scribbleOnArena() {
    let slot = UInt32(steps.below(Int(shape.slot_count)))
    let word = steps.below(2) == 0 ? steps.below(8) : steps.below(Int(piece) / 4)
    libvos_fuzz_poke_slice(
      channel, shape.arena_offset + slot * piece + 4 * UInt32(word),
      UInt32(truncatingIfNeeded: steps.interesting()))
  }

  /// Its life, as the host tells it, and what it says itself.
  private mutating func live() {
    libvos_fuzz_harmed()
    let life = UInt32(MemoryLayout<vos_superblock>.offset(of: \.service_life) ?? 0)
    let lives = UInt32(MemoryLayout<vos_superblock>.offset(of: \.service_generation) ?? 0)
    switch steps.below(6) {
    case 0: libvos_fuzz_poke_superblock(channel, life, UInt32(steps.below(4)))
    case 1: libvos_fuzz_poke_page(channel, 0, UInt32(steps.below(6)))
    case 2: libvos_fuzz_poke_superblock(channel, lives, steps.number())
    case 3: libvos_fuzz_poke_page(channel, 4 * UInt32(steps.below(32)), steps.number())
    default:
      generation &+= 1
      libvos_fuzz_poke_superblock(channel, lives, generation)
      libvos_fuzz_poke_superblock(channel, life, VOS_LIFE_ALIVE)
      libvos_fuzz_poke_page(channel, 0, VOS_SIDE_READY)
    }
  }

  /// Answers all there is, as a service does that means well.
  func settle() {
    for slot in posted {
      let line = libvos_fuzz_line(channel, slot)
      reply(to: slot, UInt32(line.call) == VOS_CALL_POLL ? 1 : max(0, most(line)))
    }
  }
}
