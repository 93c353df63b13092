"""Say who may do what: users, projects, their members and keys, and an audit log"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    users = op.create_table('users',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('role', sa.String(length=16), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('disabled_at', sa.Double(), nullable=True),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_users'))
    )
    projects = op.create_table('projects',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('created_by', sa.String(length=64), nullable=True),
    sa.Column('max_open_jobs', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_projects'))
    )
    op.create_table('members',
    sa.Column('project', sa.String(length=64), nullable=False),
    sa.Column('user', sa.String(length=64), nullable=False),
    sa.ForeignKeyConstraint(['project'], ['projects.name'], name=op.f('fk_members_project')),
    sa.ForeignKeyConstraint(['user'], ['users.name'], name=op.f('fk_members_user')),
    sa.PrimaryKeyConstraint('project', 'user', name=op.f('pk_members'))
    )
    with op.batch_alter_table('members', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_members_user'), ['user'], unique=False)

    op.create_table('audit',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('at', sa.Double(), nullable=False),
    sa.Column('user', sa.String(length=64), nullable=True),
    sa.Column('key', sa.String(length=32), nullable=True),
    sa.Column('role', sa.String(length=16), nullable=True),
    sa.Column('action', sa.String(length=64), nullable=False),
    sa.Column('target', sa.String(length=200), nullable=True),
    sa.Column('detail', sa.String(length=200), nullable=True),
    sa.Column('project', sa.String(length=64), nullable=True),
    sa.Column('outcome', sa.String(length=32), nullable=False),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('address', sa.String(length=64), nullable=True),
    sa.Column('request', sa.String(length=64), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit'))
    )
    with op.batch_alter_table('audit', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_audit_project_id'), ['project', 'id'], unique=False)

    with op.batch_alter_table('keys', schema=None) as batch_op:
        batch_op.add_column(sa.Column('user', sa.String(length=64), nullable=True))
        batch_op.add_column(
            sa.Column('label', sa.String(length=100), server_default='', nullable=False)
        )
        batch_op.add_column(sa.Column('prefix', sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column('last_used_at', sa.Double(), nullable=True))
        batch_op.add_column(sa.Column('expires_at', sa.Double(), nullable=True))
        batch_op.create_foreign_key(batch_op.f('fk_keys_user'), 'users', ['user'], ['name'])
        batch_op.create_index(batch_op.f('ix_keys_user'), ['user'], unique=False)

    # not as a batch that copies: other tables refer to this one
    op.add_column('jobs', sa.Column('project', sa.String(length=64), server_default='default', nullable=False))
    op.add_column('jobs', sa.Column('created_by', sa.String(length=64), nullable=True))
    op.create_index(op.f('ix_jobs_project_created_at'), 'jobs', ['project', 'created_at'], unique=False)

    op.bulk_insert(projects, [{'name': 'default', 'created_at': time.time()}])
    _give_keys_an_owner(users)


def _give_keys_an_owner(users: sa.Table) -> None:
    """Whoever had a key for users could do everything until now: an admin."""
    keys = sa.table('keys', sa.column('role'), sa.column('user'))
    jobs = sa.table('jobs', sa.column('created_by'))
    count = op.get_bind().scalar(sa.select(sa.func.count()).where(keys.c.role == 'user'))
    if count:
        op.bulk_insert(users, [{'name': 'admin', 'role': 'admin', 'created_at': time.time()}])
        op.execute(keys.update().where(keys.c.role == 'user').values(user='admin'))
        op.execute(jobs.update().values(created_by='admin'))


def downgrade() -> None:
    op.drop_index(op.f('ix_jobs_project_created_at'), table_name='jobs')
    op.drop_column('jobs', 'created_by')
    op.drop_column('jobs', 'project')

    with op.batch_alter_table('keys', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_keys_user'))
        batch_op.drop_constraint(batch_op.f('fk_keys_user'), type_='foreignkey')
        for name in ('expires_at', 'last_used_at', 'prefix', 'label', 'user'):
            batch_op.drop_column(name)

    op.drop_table('audit')
    op.drop_table('members')
    op.drop_table('projects')
    op.drop_table('users')
