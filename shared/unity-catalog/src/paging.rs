//! Reading a list to its end: a page may be empty though there is a next one, and only a missing token is the end.

/// The most pages of one list. At a hundred items a page this is ten times what a metastore may hold.
const PAGES_MAX: usize = 1_000;

/// Why a list cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PagingError {
    /// The list would never end.
    #[error("the list names the same next page twice; it would never end")]
    Circle,
    /// The list is longer than anything that the API can hold.
    #[error("the list has more than {PAGES_MAX} pages")]
    TooLong,
}

/// A list that is being read.
#[derive(Debug)]
pub(crate) struct Pager<T> {
    items: Vec<T>,
    next: Option<Next>,
    pages: usize,
}

#[derive(Debug)]
enum Next {
    First,
    Token(String),
}

impl<T> Pager<T> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), next: Some(Next::First), pages: 0 }
    }

    /// What to ask for: `None` if everything was read, else the token of the next page, which the first does not have.
    pub(crate) fn wanted(&self) -> Option<Option<&str>> {
        self.next.as_ref().map(|next| match next {
            Next::First => None,
            Next::Token(token) => Some(token.as_str()),
        })
    }

    /// Takes what was asked for.
    pub(crate) fn take(&mut self, items: Vec<T>, next_page_token: Option<String>) -> Result<(), PagingError> {
        self.items.extend(items);
        self.pages += 1;
        let token = next_page_token.filter(|token| !token.is_empty());
        if token.is_some() && token.as_deref() == self.wanted().flatten() {
            return Err(PagingError::Circle);
        }
        if token.is_some() && self.pages >= PAGES_MAX {
            return Err(PagingError::TooLong);
        }
        self.next = token.map(Next::Token);
        Ok(())
    }

    /// Everything that was read.
    pub(crate) fn items(self) -> Vec<T> {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads pages as a server serves them whose tokens are the pages' numbers.
    fn read_all(pages: &[Vec<u32>]) -> (Vec<u32>, usize) {
        let (mut pager, mut asked) = (Pager::new(), 0);
        while let Some(token) = pager.wanted() {
            let at: usize = token.map_or(0, |token| token.parse().unwrap());
            asked += 1;
            let next = (at + 1 < pages.len()).then(|| (at + 1).to_string());
            pager.take(pages.get(at).cloned().unwrap_or_default(), next).unwrap();
        }
        (pager.items(), asked)
    }

    #[test]
    fn an_empty_page_is_not_the_end() {
        assert_eq!(read_all(&[vec![], vec![1], vec![], vec![], vec![2, 3]]), (vec![1, 2, 3], 5));
        assert_eq!(read_all(&[]), (vec![], 1));
    }

    #[test]
    fn a_list_without_an_end_is_given_up() {
        let mut circle = Pager::<u32>::new();
        circle.take(vec![1], Some("a".to_owned())).unwrap();
        assert_eq!(circle.take(vec![1], Some("a".to_owned())), Err(PagingError::Circle));
        let mut long = Pager::<u32>::new();
        let ended = (0..2 * PAGES_MAX).find_map(|n| long.take(Vec::new(), Some(n.to_string())).err());
        assert_eq!(ended, Some(PagingError::TooLong));
    }

    #[test]
    fn an_empty_token_is_the_end() {
        let mut pager = Pager::new();
        pager.take(vec![1], Some(String::new())).unwrap();
        assert_eq!(pager.wanted(), None);
    }

    proptest! {
        #[test]
        fn every_item_is_read_once_and_in_order(
            pages in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..5), 1..40),
        ) {
            let (items, asked) = read_all(&pages);
            prop_assert_eq!(items, pages.concat());
            prop_assert_eq!(asked, pages.len());
        }
    }
}
