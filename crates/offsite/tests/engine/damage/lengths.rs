//! Indexes that are whole and lie about lengths.

use offsite::model::Chain;
use offsite::{Error, Restore};
use offsite_core::Index;
use offsite_core::format::WireFormat;
use offsite_repository::RepositoryExt;

use crate::support::objects::{bytes_of, key, newest_head, put_successor, shortened};
use crate::support::truth::causes;
use crate::support::{BLOCK, Machines, day, files_in, job, machine, memory_repository, open_memory, scratch};

/// An index that is whole and says that a disk is shorter than its blocks: no block is written over what is behind it.
#[tokio::test]
async fn a_block_that_is_longer_than_its_place_is_not_restored() {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(62);
    machines.add("web01", &[BLOCK]);
    machines.fill_with_noise("web01");
    machines.overwrite("web01", |disk| disk[0] = 1);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let point = newest_head(&memory, "nightly").chain.points()[0].clone();
    let index_key = key(&format!("nightly/index/{}", point.index.id));
    let mut index = Index::decode(&bytes_of(&memory, &index_key)).unwrap();
    index.map = shortened(&index.map);
    let bytes = index.encode().unwrap();
    let point = offsite_core::format::index::point(&index, &bytes).unwrap();
    memory.remove(&index_key);
    memory.put(&index_key, bytes.into()).await.unwrap();
    put_successor(&memory, "nightly", |head| head.chain = Chain::new(index.block_size, vec![point]).unwrap()).await;
    let repository = open_memory(&memory).await;
    let to = scratch();
    let error = Restore::new(&repository, job("nightly"), machine("web01")).run(to.path()).await.unwrap_err();
    assert!(
        matches!(error.innermost(), Error::Damaged { .. }) && causes(&error).contains("not the length"),
        "{}",
        causes(&error)
    );
    assert_eq!(files_in(to.path()), 0);
}
