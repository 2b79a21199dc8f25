//! What the host knows of a medium while it is away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use bytes::Bytes;
use offsite_backends::{AbsentMedium, MediaCatalogue, MediumId, RememberOptions, Removable};
use offsite_repository::{ErrorKind, Key, Prefix, Repository, RepositoryExt};
use tempfile::TempDir;

const SMALL: &[u8] = b"a head";

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn what(seen_unix_secs: i64) -> RememberOptions {
    let prefixes = vec![Prefix::new("job/head").unwrap(), Prefix::new("job/index").unwrap()];
    RememberOptions::new(seen_unix_secs)
        .with_prefixes(prefixes)
        .with_keys(vec![key("marker")])
        .with_object_bytes_max(1_000)
}

struct Desk {
    folder: TempDir,
    catalogue: MediaCatalogue,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = MediaCatalogue::open(folder.path().join("catalogue")).await.unwrap();
        Self { folder, catalogue }
    }

    /// A medium with two heads, two indexes (one of them too large to be kept) and a file, written down at `seen`.
    async fn drive(&self, label: &str, seen: i64) -> Removable {
        let path = self.folder.path().join(label);
        fs::create_dir(&path).unwrap();
        Removable::prepare_folder(&path, label).await.unwrap();
        let drive = Removable::open(path).await.unwrap();
        for (name, length) in
            [("job/head/1", 6), ("job/head/2", 6), ("job/index/a", 6), ("job/index/b", 1_001), ("job/f", 6)]
        {
            let content = if length == 6 { Bytes::from_static(SMALL) } else { Bytes::from(vec![1; length]) };
            drive.put(&key(name), content).await.unwrap();
        }
        drive.remember(&self.catalogue, &what(seen)).await.unwrap();
        drive
    }

    async fn absent_medium(&self, id: MediumId) -> AbsentMedium {
        self.catalogue.absent_medium(id).await.unwrap()
    }
}

#[tokio::test]
async fn a_medium_that_is_away_is_listed_and_what_was_kept_of_it_is_read() {
    let desk = Desk::new().await;
    let drive = desk.drive("Blue", 77).await;
    let objects = drive.list_all(&Prefix::root()).await.unwrap();
    let (medium, limits) = (drive.medium().clone(), drive.limits());
    // What a plan asks of it.
    let abilities = |repository: &dyn Repository| {
        let punch = repository.reclaim().map(|reclaim| reclaim.punch_granularity_bytes());
        let clone = repository.clone_range().map(|cloner| cloner.clone_granularity_bytes());
        (punch, clone, repository.patch().is_some(), repository.retain().is_some())
    };
    let can = abilities(&drive);
    assert!(can.2, "a folder can patch: {can:?}");
    fs::remove_dir_all(drive.path()).unwrap();

    let absent = desk.absent_medium(medium.id).await;
    assert_eq!((&absent.known().medium, absent.known().seen_unix_secs, absent.limits()), (&medium, 77, limits));
    assert_eq!(absent.list_all(&Prefix::root()).await.unwrap(), objects);
    // In pages, below a prefix, after a key that is not there.
    let page = absent.list(&Prefix::new("job/head").unwrap(), Some(&key("job/head/0")), 1).await.unwrap();
    assert_eq!((page.objects.len(), page.objects[0].key.as_str(), page.more), (1, "job/head/1", true));
    let page = absent.list(&Prefix::new("job/head").unwrap(), Some(&key("job/head/1")), 1).await.unwrap();
    assert_eq!((page.objects[0].key.as_str(), page.more), ("job/head/2", false));
    assert_eq!(absent.list_all(&Prefix::new("jo").unwrap()).await.unwrap(), []);
    for kept in ["job/head/1", "job/head/2", "job/index/a"] {
        assert_eq!(absent.get(&key(kept), 9).await.unwrap(), SMALL);
    }
    assert_eq!(absent.get_range(&key("job/head/1"), 2..6).await.unwrap(), "head");
    // Too large; not asked for; and everything that would change it.
    let advice = format!("insert medium {medium}");
    for answer in [
        absent.get(&key("job/index/b"), 9_999).await.map(drop),
        absent.get(&key("job/f"), 9).await.map(drop),
        absent.create(&key("job/new")).await.map(drop),
        absent.delete(&key("job/f")).await,
        absent.sweep().await,
    ] {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MediaAbsent, "{error}");
        assert!(error.to_string().contains(&advice), "{error}");
    }
    assert_eq!(absent.get(&key("job/never"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(abilities(&absent), can);
    let error = absent.patch().unwrap().write_extents(&key("job/f"), Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MediaAbsent, "{error}");
}

#[tokio::test]
async fn the_catalogue_follows_its_media() {
    let desk = Desk::new().await;
    let (red, blue) = (desk.drive("Red", 1).await, desk.drive("Blue", 2).await);
    let labels = |media: &[offsite_backends::KnownMedium]| {
        media.iter().map(|known| (known.medium.label.clone(), known.seen_unix_secs)).collect::<Vec<_>>()
    };
    assert_eq!(labels(&desk.catalogue.media().await.unwrap()), [("Blue".to_owned(), 2), ("Red".to_owned(), 1)]);
    blue.delete(&key("job/head/1")).await.unwrap();
    blue.put(&key("job/head/3"), Bytes::from_static(b"newest")).await.unwrap();
    blue.remember(&desk.catalogue, &what(3)).await.unwrap();
    let absent = desk.absent_medium(blue.medium().id).await;
    assert_eq!(absent.get(&key("job/head/3"), 9).await.unwrap(), "newest");
    assert_eq!(absent.get(&key("job/head/1"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
    let copies = desk.folder.path().join("catalogue").join(blue.medium().id.to_string());
    assert!(!copies.join("job/head/1").exists(), "what is no longer on the medium is no longer kept");
    // The other one is as it was.
    assert_eq!(desk.absent_medium(red.medium().id).await.get(&key("job/head/1"), 9).await.unwrap(), SMALL);
    // A medium that fails meanwhile leaves what was known.
    fs::remove_file(blue.path().join(".offsite-medium")).unwrap();
    blue.remember(&desk.catalogue, &what(4)).await.unwrap_err();
    assert_eq!(desk.absent_medium(blue.medium().id).await.known().seen_unix_secs, 3);

    desk.catalogue.forget(blue.medium().id).await.unwrap();
    desk.catalogue.forget(blue.medium().id).await.unwrap();
    assert_eq!(desk.catalogue.medium(blue.medium().id).await.unwrap(), None);
    let error = desk.catalogue.absent_medium(blue.medium().id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("never seen it"), "{error}");
    assert!(!copies.exists());
    assert_eq!(labels(&desk.catalogue.media().await.unwrap()), [("Red".to_owned(), 1)]);
}

#[tokio::test]
async fn a_damaged_entry_is_told_and_comes_back_with_its_medium() {
    let desk = Desk::new().await;
    let drive = desk.drive("Blue", 1).await;
    let entry = desk.folder.path().join("catalogue").join(format!("{}.medium", drive.medium().id));
    let bytes = fs::read(&entry).unwrap();
    for (alter, kind, detail) in [
        (bytes[..bytes.len() - 5].to_vec(), ErrorKind::Corrupt, "remove this file"),
        (Vec::new(), ErrorKind::Corrupt, "remove this file"),
        (
            String::from_utf8(bytes).unwrap().replace("catalogue 1", "catalogue 2").into_bytes(),
            ErrorKind::Unsupported,
            "a later version",
        ),
    ] {
        fs::write(&entry, alter).unwrap();
        let error = desk.catalogue.absent_medium(drive.medium().id).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(detail) && error.to_string().contains(".medium"), "{error}");
        match desk.catalogue.media().await {
            // The others stay known, and so does this one, to be told from a stranger.
            Ok(media) => {
                assert_eq!(kind, ErrorKind::Corrupt);
                let known: Vec<_> =
                    media.iter().map(|known| (known.medium.label.clone(), known.seen_unix_secs)).collect();
                assert_eq!(known, [(drive.medium().id.to_string(), 0)]);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
    }
    drive.remember(&desk.catalogue, &what(2)).await.unwrap();
    assert_eq!(desk.absent_medium(drive.medium().id).await.known().seen_unix_secs, 2);
    // Without its copies it still lists.
    fs::remove_dir_all(desk.folder.path().join("catalogue").join(drive.medium().id.to_string())).unwrap();
    let absent = desk.absent_medium(drive.medium().id).await;
    assert_eq!(absent.list_all(&Prefix::root()).await.unwrap().len(), 5);
    assert_eq!(absent.get(&key("job/head/1"), 9).await.unwrap_err().kind(), ErrorKind::MediaAbsent);
}
