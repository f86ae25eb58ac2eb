"""Example queries for each persona of the sandbox: the explorer offers them, the demonstration runs some."""

from gateway.explorer.app import Example

PERSONAS = {
    "developer": "developer",
    "department": "market-regulation-bureau",
    "bank": "first-bank",
    "subject": "subject-portal",
    "person": "natural-person",
    "public": "public",
}
"""Persona of the explorer to the persona of the sandbox's token issuer."""

BIDDERS = (
    "91990100FAKE00013D",
    "91990105FAKE00128U",
    "91990105FAKE00136N",
    "91990106FAKE001440",
    "91990200FAKE001529",
)
"""Synthetic bidders of the sandbox: clean, penalised, repaired, in enforcement, under objection."""

# Lines are short, so that the explorer shows them whole in half a window.
BIDDER_CHECK = """\
# A department checks the bidders of its purchase:
# one purpose, its evidence, one round.
query BidderCheck($bidders: [SubjectRef!]!) {
  inquiry(
    purpose: PROCUREMENT
    evidence: {
      projectNumber: "SANDBOX-2026-0117"
      stage: REVIEW
    }
  ) {
    receipt { id time policyVersion }
    subjects(of: $bidders) {
      kind
      ... on RegisteredSubject {
        registration {
          state
          record { name creditCode status }
        }
      }
      ... on OperatingSubject {
        licences {
          state
          records {
            nodes { kind validUntil authority }
          }
        }
        penalties {
          state
          level
          reason { code }
          records {
            totalCount
            nodes {
              documentNumber kind authority
              decidedOn publicUntil marks
            }
          }
          withheld { field code }
        }
        seriousDishonesty {
          state
          records {
            nodes {
              listName listedOn situation authority
            }
          }
        }
        enforcement {
          state
          reason { code message }
          sources { title state asOf }
          records {
            nodes {
              caseNumber court listedOn performance
            }
          }
        }
        abnormalOperations {
          state
          records { nodes { reason listedOn } }
        }
        arrears {
          state
          records {
            nodes { kind amountBand authority }
          }
        }
      }
    }
  }
}
"""

CREDIT_LOAN = """\
# A bank decides on a credit loan. What is open
# needs the application alone; the rest needs the
# subject's signed authorization: without it those
# sections are denied, with reason and remedy.
query CreditLoan(
  $subject: SubjectId!
  $authorization: String
) {
  inquiry(
    purpose: LOAN_PRECHECK
    evidence: {
      applicationNumber: "SANDBOX-LOAN-42"
      queryReasonCode: "02"
      authorization: $authorization
    }
  ) {
    receipt { id }
    subject(id: $subject) {
      ... on RegisteredSubject {
        registration {
          state
          record {
            name creditCode status registeredOn
            capital capitalAmount capitalCurrency
          }
        }
      }
      ... on OperatingSubject {
        penalties {
          state
          level
          records {
            nodes {
              documentNumber kind authority
              fine publicUntil
            }
          }
        }
        taxPayments {
          state
          reason {
            code message remedy
            basis { citation title }
          }
          records(first: 12) {
            nodes { period taxKind amountBand }
          }
        }
        contributionPayments {
          state
          reason { code }
          records(first: 12) {
            nodes {
              scheme period headcount amountBand
            }
          }
        }
        evaluations {
          state
          reason { code }
          records {
            nodes {
              kind evaluator scheme grade
              evaluatedOn
            }
          }
        }
        marketCredit {
          state
          reason { code }
          records {
            nodes {
              provider kind rating ratedOn method
            }
          }
        }
      }
    }
  }
}
"""

MY_RECORD = """\
# A subject sees all that is held about itself,
# repaired and expired records included.
query MyRecord($me: SubjectId!) {
  inquiry(purpose: SELF) {
    receipt { id }
    subject(id: $me) {
      ... on OperatingSubject {
        registration {
          state
          record {
            name legalRepresentative address
          }
        }
        penalties {
          state
          records {
            nodes {
              documentNumber facts fine
              repairedOn publicUntil marks
            }
          }
        }
        taxPayments {
          state
          records(first: 3) {
            nodes { period taxKind amount }
          }
        }
        commitments {
          state
          records {
            nodes { kind content performance }
          }
        }
      }
    }
  }
}
"""

MY_PERSONAL_RECORD = """\
# A natural person sees its own record.
# There is no score to ask for.
query MyPersonalRecord($me: SubjectId!) {
  inquiry(purpose: SELF) {
    receipt { id }
    subject(id: $me) {
      ... on NaturalPerson {
        identityMatch {
          state
          record { matched checkedOn }
        }
        enforcement {
          state
          records {
            nodes { caseNumber court listedOn }
          }
        }
        licences {
          state
          records { nodes { kind validUntil } }
        }
        marketCredit {
          state
          records {
            nodes { provider kind statement }
          }
        }
      }
    }
  }
}
"""

WHAT_WOULD_I_GET = """\
# What would this token get of an organisation,
# and why not? No source is asked.
query WhatWouldIGet {
  viewer { unitName type syntheticOnly }
  permissions(
    purpose: PUBLIC_VIEW
    subjectKind: ORG
  ) {
    category
    possible
    level
    fields
    needs { code english evidence }
    reason { code message remedy }
    basis { citation title chinese }
  }
}
"""

CATALOGUE = """\
# The catalogue, the purposes and the measures
# of the policy that is loaded.
query Catalogue {
  catalogue {
    code english chinese class
    openOrg openPerson field
  }
  purposes {
    code english chinese case evidence allowed
    basis { citation }
  }
  measures { code english kind }
}
"""

PUBLIC_RECORD = """\
# Everybody may see what is published of one
# organisation at a time.
query PublicRecord($subject: SubjectId!) {
  inquiry(purpose: PUBLIC_VIEW) {
    receipt { id }
    subject(id: $subject) {
      kind
      ... on OperatingSubject {
        registration {
          state
          record { name creditCode status address }
        }
        penalties {
          state
          level
          records {
            nodes {
              documentNumber kind fine publicUntil
            }
          }
          withheld { field code }
        }
        taxPayments {
          state
          reason { code message remedy }
        }
      }
    }
  }
}
"""

FIND = """\
# Organisations by name: the published part of
# their registration.
query Find($name: String!) {
  inquiry(purpose: PUBLIC_VIEW) {
    search(name: $name, first: 5) {
      state
      organisations {
        totalCount
        nodes { name creditCode status city }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}
"""

INSPECTION = """\
# A department inspects a firm that it supervises.
# Repaired and withdrawn records are not there;
# what is contested carries its mark.
query Inspection($subject: SubjectId!) {
  inquiry(
    purpose: SUPERVISION
    evidence: { inspectionPlanNumber: "I-1" }
  ) {
    receipt { id }
    subject(id: $subject) {
      ... on OperatingSubject {
        compulsions {
          state
          records {
            nodes {
              kind authority decidedOn marks
            }
          }
        }
        falseStatements {
          state
          records {
            nodes { kind matter authority }
          }
        }
        contracts {
          state
          records {
            nodes {
              kind dueOn performance amountBand
            }
          }
        }
        compliance {
          state
          records {
            nodes { provider field result }
          }
          sources { id state asOf }
        }
      }
    }
  }
}
"""

EXAMPLES = (
    Example("Catalogue", "developer", CATALOGUE, {}, "What exists, and by which law."),
    Example(
        "What would I get?", "developer", WHAT_WOULD_I_GET, {}, "A dry run: every denial explains itself."
    ),
    Example(
        "Public record",
        "developer",
        PUBLIC_RECORD,
        {"subject": {"creditCode": BIDDERS[1]}},
        "One synthetic organisation, published part.",
    ),
    Example(
        "Bidder check",
        "department",
        BIDDER_CHECK,
        {"bidders": [{"id": {"creditCode": code}} for code in BIDDERS]},
        "Five bidders in one query: bidder 3's repaired penalty is not there.",
    ),
    Example(
        "Inspection",
        "department",
        INSPECTION,
        {"subject": {"creditCode": "93990105FAKE0003X2"}},
        "A supervised firm, from platforms of three levels, customs and departments.",
    ),
    Example(
        "Credit loan",
        "bank",
        CREDIT_LOAN,
        {"subject": {"creditCode": BIDDERS[0]}, "authorization": None},
        "Without an authorization the consent-bound sections are denied; `credit-gateway authorize` makes one.",
    ),
    Example(
        "My company",
        "subject",
        MY_RECORD,
        {"me": {"creditCode": BIDDERS[0]}},
        "A company about itself: exact amounts, full text.",
    ),
    Example(
        "My own record",
        "person",
        MY_PERSONAL_RECORD,
        {"me": {"resident": {"number": "990105199912319987", "name": "例失信"}}},
        "A person about themselves.",
    ),
    Example("Find by name", "public", FIND, {"name": "示例"}, "Organisations by name."),
)
