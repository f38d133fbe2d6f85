// What a newcomer finds in the first tab.
export const FIRST_QUERY = `# Sign in above, then press the arrow.
# Ctrl-Space completes, the book explains.

query WhomToVisit {
  me {
    name
    role
  }
  customers(sort: PRIORITY, first: 5) {
    totalCount
    nodes {
      nameZh
      nameEn
      stage
      score {
        priority
        segment
      }
      orders(first: 1) {
        nodes {
          orderedOn
          state
          total {
            amountMinor
            currency
          }
        }
      }
    }
  }
}

subscription Pokes {
  syncPoke {
    clock
  }
}
`;
