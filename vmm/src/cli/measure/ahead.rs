//! Large files: read on one thread, hashed on another, a few pieces ahead.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;

use cloister_firmware::linux::{Blob, BlobHasher};

/// Bytes read at once: still in the cores' common cache when they are hashed, and so many that to wake the other
/// thread for each costs little beside.
const PIECE: usize = 1 << 20;
/// Pieces that are read before the first is hashed.
const AHEAD: usize = 4;

/// Hashes `file` to its end. The copy out of the page cache costs a fifth of the hash, so it is made beside it.
pub(super) fn hash(file: &File) -> io::Result<Blob> {
    let (full, pieces) = mpsc::sync_channel(AHEAD);
    let (used, empty) = mpsc::channel();
    for _ in 0..AHEAD {
        // The receiver is right here.
        let _ = used.send(vec![0; PIECE]);
    }
    thread::scope(|scope| {
        scope.spawn(move || read(file, empty, full));
        let mut hasher = BlobHasher::default();
        for piece in pieces {
            let (buffer, n): (Vec<u8>, usize) = piece?;
            hasher.update(buffer.get(..n).unwrap_or_default());
            // At the end of the file nobody takes it back.
            let _ = used.send(buffer);
        }
        Ok(hasher.finish())
    })
}

/// Fills empty buffers until the end, an error, or nobody wants them.
fn read(
    mut file: &File,
    empty: mpsc::Receiver<Vec<u8>>,
    full: mpsc::SyncSender<io::Result<(Vec<u8>, usize)>>,
) {
    while let Ok(mut buffer) = empty.recv() {
        let n = loop {
            match file.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        let piece = match n {
            Ok(0) => return,
            n => n.map(|n| (buffer, n)),
        };
        let failed = piece.is_err();
        if full.send(piece).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn a_file_hashes_to_the_same_in_one_thread_and_in_two() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * AHEAD * PIECE + 17] {
            let bytes: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            assert_eq!(hash(&file).unwrap(), Blob::read(&bytes[..]).unwrap(), "{len}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(hash(&File::open(dir.path()).unwrap()).is_err(), "a directory");
    }
}
